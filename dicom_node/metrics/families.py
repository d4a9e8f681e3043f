"""Metrics as prometheus_client wants them, under the name of this program."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Samples = Iterable[tuple[tuple[str, ...], float]]  # the values of the labels, and the number


def gauge(name: str, words: str, labels: tuple[str, ...], samples: Samples) -> GaugeMetricFamily:
    """One number for each combination of labels."""
    family = GaugeMetricFamily(f"dicom_node_{name}", words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def counter(name: str, words: str, labels: tuple[str, ...], samples: Samples) -> CounterMetricFamily:
    """The same of numbers that only grow; Prometheus shows the name with _total."""
    family = CounterMetricFamily(f"dicom_node_{name}", words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family
