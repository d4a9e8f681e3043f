#!/usr/bin/env bash
# docker compose for real: a film goes in from outside the containers by DCMTK's storescu; exactly one SR must reach
# Orthanc and exactly one ORU the RIS. Needs Docker with Compose >= 2.20 and storescu. KEEP=1 leaves it up.
# In a project of its own: a node that runs on this host is left alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
TIMEOUT_S=${TIMEOUT_S:-120}
SETTLE_S=10 # after the first SR and ORU: time for a second one that must not come
export DICOM_ADDRESS=127.0.0.1 DICOM_PORT=${DICOM_PORT:-0} HTTP_PORT=0 HL7_PORT=0 POSTGRES_PASSWORD="a p@ss/word:\$1"

compose() { docker compose --ansi never --project-name dicom-node-check --env-file deploy/env.example --profile demo "$@"; }

say() { printf '\n== %s\n' "$*"; }

take_down() {
  local rc=$?
  ((rc == 0)) || { say "failed; the last lines of the logs"; compose logs --tail 15; }
  [[ ${KEEP:-} ]] || compose down --volumes --timeout 20 >/dev/null 2>&1 || true
  rm -rf "$scratch"
  exit "$rc"
}

# Prints: SRs in Orthanc, objects in Orthanc, ORU files of the RIS, receipts of the RIS.
count_results() {
  compose exec -T ris python - <<'PYTHON'
import json
from pathlib import Path
from urllib.request import urlopen
query = {"Level": "Series", "Query": {"Modality": "SR"}, "Expand": True}
series = json.load(urlopen("http://orthanc:8042/tools/find", json.dumps(query).encode()))
journal = Path("/inbox/received.jsonl")
print(sum(len(each["Instances"]) for each in series),
      json.load(urlopen("http://orthanc:8042/statistics"))["CountInstances"],
      len(list(Path("/inbox").glob("*.hl7"))),
      len(journal.read_text().splitlines()) if journal.exists() else 0)
PYTHON
}

show_results() {
  compose exec -T ris python - <<'PYTHON'
import json
from pathlib import Path
from urllib.request import urlopen
for name in json.load(urlopen("http://orthanc:8042/instances")):
    tags = json.load(urlopen(f"http://orthanc:8042/instances/{name}/simplified-tags"))
    print("SR  ", tags["SOPClassUID"], tags["CompletionFlag"], tags["VerificationFlag"], tags["SeriesDescription"])
for message in Path("/inbox").glob("*.hl7"):
    for segment in message.read_text().replace("\r", "\n").splitlines():
        print("ORU ", segment[:150])
PYTHON
}

scratch=$(mktemp -d)
trap take_down EXIT
command -v storescu >/dev/null || { echo "storescu is not here (DCMTK)" >&2; exit 2; }

say "docker compose up"
time compose up --build --wait --quiet-pull
compose ps --all --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'

say "a film from outside"
compose run --rm -T --no-deps --entrypoint sh sweep \
  -c 'python -m workers.phantom.film /tmp/film.dcm >/dev/null && cat /tmp/film.dcm' >"$scratch/film.dcm"
at=$(compose port scp 11112)
sent_at=$SECONDS
storescu -v -aet STORESCU -aec CXRNODE "${at%:*}" "${at##*:}" "$scratch/film.dcm"

say "waiting for both results"
until read -r srs objects orus receipts < <(count_results) && ((srs > 0 && orus > 0)); do
  ((SECONDS - sent_at < TIMEOUT_S)) || { echo "nothing after $TIMEOUT_S s: SR ${srs:-?}, ORU ${orus:-?}" >&2; exit 1; }
  sleep 1
done
echo "both there $((SECONDS - sent_at)) s after the film was sent"
sleep "$SETTLE_S"
read -r srs objects orus receipts < <(count_results)
show_results
compose exec -T scp dicom-node status
echo "SR $srs, objects in Orthanc $objects, ORU $orus, receipts of the RIS $receipts: 1 of each expected"
[[ "$srs $objects $orus $receipts" == "1 1 1 1" ]] || exit 1

say "errors in the node's logs"
if compose logs --no-color migrate scp sweep worker relay web hl7 ris model | grep -E '"level": "(error|critical)"|Traceback'; then
  exit 1
fi
echo "none"
say "passed"
