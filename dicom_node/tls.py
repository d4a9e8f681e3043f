"""TLS for DICOM and MLLP: both ends show a certificate, and only ciphers with forward secrecy are spoken."""

import ssl

from dicom_node.config import Tls

# BCP 195 (RFC 9325 4.2), which PS3.15 B.9 takes over: ECDHE for forward secrecy, AEAD for the data.
# TLS 1.3 has no others.
_TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def client_context(tls: Tls) -> ssl.SSLContext:
    """For the end that connects. It also checks that the certificate names the host it called.

    Raises OSError if a file is missing or is not what the setting says.
    """
    return _mutual(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def server_context(tls: Tls) -> ssl.SSLContext:
    """For the end that listens. A caller without a certificate of our authorities is turned away.

    Raises OSError if a file is missing or is not what the setting says.
    """
    return _mutual(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)


def _mutual(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=tls.ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context
