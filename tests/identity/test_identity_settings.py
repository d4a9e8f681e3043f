"""What an identity provider is believed to be."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from dicom_node.config import Settings

OIDC = {"issuer": "https://login.example", "client_id": "page", "client_secret_file": "s", "roles": {"r": "viewer"}}


def settings_of(page_url: str | None = "https://page.example", **changes: object) -> Settings:
    return Settings.model_validate({"page_url": page_url, "oidc": {**OIDC, **changes}})


@pytest.mark.parametrize("issuer", ["https://login.example/realms/a", "http://127.0.0.1:8080", "http://localhost"])
def test_an_issuer_speaks_tls_or_is_on_this_machine(issuer: str) -> None:
    oidc = settings_of(issuer=issuer).oidc
    assert oidc is not None
    assert (oidc.issuer, oidc.client_secret_file) == (issuer, Path("s"))


@pytest.mark.parametrize(
    "issuer",
    ["http://login.example", "https://", "ftp://127.0.0.1", "https://a.example?b", "", "http://127.0.0.1.evil"],
)
def test_another_issuer_is_refused(issuer: str) -> None:
    with pytest.raises(ValidationError, match="expected https://"):
        settings_of(issuer=issuer)


@pytest.mark.parametrize("roles", [{}, {"staff": "god"}])
def test_every_role_of_the_provider_has_one_here(roles: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        settings_of(roles=roles)


def test_the_provider_has_to_know_where_to_send_people_back() -> None:
    with pytest.raises(ValidationError, match="oidc needs page_url"):
        settings_of(page_url=None)
