"""A frontal chest as layers of shadow, with what the case says is in it."""

from dataclasses import replace

from workers.phantom.anatomy import draw_build, inflate, shade_body, shade_soft, shade_vessels
from workers.phantom.case import Case, Finding, Kind
from workers.phantom.devices import DEVICES
from workers.phantom.lesions import LESIONS
from workers.phantom.plate import Plate, Shadow, stream
from workers.phantom.skeleton import shade_bones


def cast_frontal(plate: Plate, case: Case) -> Shadow:
    """The sum of all shadows, (rows, columns) float32; 0 is unattenuated beam, 1 the densest soft tissue."""
    build = draw_build(case)
    findings = [_as_drawn(finding, case) for finding in case.findings]
    lungs = inflate(plate, build)
    for finding in findings:
        if finding.kind in LESIONS:
            lungs = LESIONS[finding.kind](plate, build, lungs, finding, stream(case.seed, finding.label))
    shadow: Shadow = shade_soft(plate, build, lungs.air) + shade_bones(plate, build, lungs.air, findings, case.seed)
    shadow = shade_body(plate, build) * shadow + lungs.vessels * shade_vessels(plate, build, case.seed)
    for finding in findings:
        if finding.kind in DEVICES:
            shadow += DEVICES[finding.kind](plate, build, finding, stream(case.seed, finding.label))
    return shadow


def _as_drawn(finding: Finding, case: Case) -> Finding:
    """The chest is drawn with the heart on the left; a mirrored pose turns it over, and with it the sides."""
    if finding.side and Kind.DEXTROCARDIA in case.kinds:
        return replace(finding, side=finding.side.opposite)
    return finding
