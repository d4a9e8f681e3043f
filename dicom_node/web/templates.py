"""The page's HTML: Jinja templates that escape whatever they are given."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from dicom_node.attention import CAPTION
from dicom_node.config import Settings
from dicom_node.demographics import shown_name
from dicom_node.product import SYNTHETIC, software_version

_DATE_DIGITS = 8  # DA, PS3.5 6.2


class Templates:
    """Renders with the site's time zone."""

    def __init__(self, settings: Settings) -> None:
        self._environment = Environment(
            loader=PackageLoader("dicom_node.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        zone = ZoneInfo(settings.time_zone)
        self._environment.filters.update(time=_clock_of(zone), hour=_hour_of(zone), day=_day, pn=shown_name)
        self._environment.filters.update(bytes=_bytes, lasting=_lasting)
        said = {"node": settings.ae_title, "zone": settings.time_zone, "version": software_version()}
        self._environment.globals.update(**said, synthetic=SYNTHETIC, caption=CAPTION)

    def render(self, name: str, values: Mapping[str, object], status: int = 200) -> HTMLResponse:
        return HTMLResponse(self._environment.get_template(name).render(values), status)


def _clock_of(zone: ZoneInfo) -> Callable[[datetime], str]:
    return lambda at: f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _hour_of(zone: ZoneInfo) -> Callable[[datetime], str]:
    return lambda at: f"{at.astimezone(zone):%H:%M}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:  # or it would be rounded to 1e+03
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _lasting(time: timedelta) -> str:
    """The two largest units."""
    minutes, seconds = divmod(max(0, int(time.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{number} {unit}" for number, unit in zip((days, hours, minutes, seconds), "dhms", strict=True) if number]
    return " ".join(parts[:2]) or "0 s"


def _day(date: str) -> str:
    """A DA as people read it; what is no DA as it stands."""
    is_date = len(date) == _DATE_DIGITS and date.isdecimal()
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if is_date else date
