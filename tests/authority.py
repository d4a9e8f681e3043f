"""Throw-away certificate authorities and the certificates they sign, by openssl."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert

from foreign import require_peer

from dicom_node.peers import Tls

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
RSA_2048, RSA_1024 = ("-newkey", "rsa:2048"), ("-newkey", "rsa:1024")
_CONFIGURATION = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=1\n"

_EXTENSIONS = "subjectAltName=IP:127.0.0.1,DNS:localhost\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


class Authority:
    """One authority; all its files lie in one folder, under the name of whom they are for."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        may_sign = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # RFC 5280: Python 3.13 asks for it
        self._openssl("req", "-x509", *EC, "-noenc", "-days", "30", "-subj", f"/CN={name}", *may_sign, *_out("ca"))

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *, key: tuple[str, ...] = EC, days: int = 30) -> Tls:
        """A certificate for 127.0.0.1 that ends after so many days; a negative number: it has ended."""
        (self.folder / "extensions").write_text(_EXTENSIONS)
        self._openssl("req", "-new", *key, "-noenc", "-subj", f"/CN={name}", *_out(name, kind="csr"))
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-days", str(days), "-extfile", "extensions")
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
        return Tls(certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key", ca=self.certificate)

    def revocations(self, *revoked: Tls, hours: int = 24) -> str:
        """The CRL in PEM. hours: until it is out of date; 0: it is since years."""
        (self.folder / "ca.cnf").write_text(_CONFIGURATION)
        (self.folder / "index.txt").touch()
        own = ("ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key")
        for each in revoked:
            self._openssl(*own, "-revoke", str(each.certificate))
        long_ago = ("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z")
        self._openssl(*own, "-gencrl", *(("-crlhours", str(hours)) if hours else long_ago), "-out", "crl.pem")
        return (self.folder / "crl.pem").read_text()

    def _openssl(self, *arguments: str) -> None:
        command = [require_peer("openssl"), *arguments]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=True, timeout=60)


def fingerprint(tls: Tls) -> str:
    """SHA-256 of the certificate, hex."""
    return sha256(PEM_cert_to_DER_cert(tls.certificate.read_text())).hexdigest()


def replace(own: Tls, by: Tls) -> None:
    """As certbot and Kubernetes do it: a new file in the place of the old one."""
    for name in ("certificate", "key", "ca"):
        beside = getattr(own, name).with_suffix(".new")
        shutil.copyfile(getattr(by, name), beside)
        beside.replace(getattr(own, name))


def _out(name: str, kind: str = "pem") -> tuple[str, ...]:
    return ("-keyout", f"{name}.key", "-out", f"{name}.{kind}")
