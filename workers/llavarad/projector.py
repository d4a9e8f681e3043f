"""The bridge from image to language: LLaVA's `mlp2x_gelu`."""

from torch import Tensor, nn


class Projector(nn.Module):
    """Linear, exact (erf) GELU, Linear; both with bias. Source: LLaVA 1.5."""

    def __init__(self, vision_size: int, language_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_size, language_size)
        self.activation = nn.GELU()
        self.linear_2 = nn.Linear(language_size, language_size)

    def forward(self, features: Tensor) -> Tensor:
        """features: (B, N, vision). Returns (B, N, language)."""
        projected: Tensor = self.linear_2(self.activation(self.linear_1(features)))
        return projected
