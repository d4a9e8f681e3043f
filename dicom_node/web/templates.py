"""The page's HTML: Jinja templates that escape whatever they are given."""

from collections.abc import Callable, Mapping
from datetime import datetime
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
        self._environment.filters.update(time=_clock_of(zone), day=_day, pn=shown_name)
        said = {"node": settings.ae_title, "zone": settings.time_zone, "version": software_version()}
        self._environment.globals.update(**said, synthetic=SYNTHETIC, caption=CAPTION)

    def render(self, name: str, values: Mapping[str, object], status: int = 200) -> HTMLResponse:
        return HTMLResponse(self._environment.get_template(name).render(values), status)


def _clock_of(zone: ZoneInfo) -> Callable[[datetime], str]:
    return lambda at: f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _day(date: str) -> str:
    """A DA as people read it; what is no DA as it stands."""
    is_date = len(date) == _DATE_DIGITS and date.isdecimal()
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if is_date else date
