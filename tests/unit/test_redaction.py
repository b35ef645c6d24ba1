"""What looks like a credential is not shown; what does not, is."""

import pytest

from nftsvc.agent.redaction import HIDDEN, shown, without_credentials

JSON_WEB = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://admin:hunter22@10.0.0.1:6443/api", f"GET https://admin:{HIDDEN}@10.0.0.1:6443/api"),
        ("Authorization: Bearer abcdefgh1234", f"Authorization: Bearer {HIDDEN}"),
        ("basic dXNlcjpwYXNzd29yZA==", f"basic {HIDDEN}"),
        (f"token {JSON_WEB} expired", f"token {HIDDEN} expired"),
        ("https://10.0.0.1/?access_token=hunter22&x=1", f"https://10.0.0.1/?access_token={HIDDEN}&x=1"),
        ('{"password": "hunter22"}', f'{{"password": "{HIDDEN}"}}'),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY----- x", f"{HIDDEN} x"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", HIDDEN),
    ],
)
def test_credentials_are_hidden_in_text(text: str, expected: str) -> None:
    assert without_credentials(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "connection refused",
        "GET https://10.0.0.1:6443/api/v1/services?limit=500: 401 Unauthorized",
        "/var/run/secrets/kubernetes.io/serviceaccount/token: permission denied",
        "Service shop/web: spec.ports[0].nodePort: 70000 is not a port number (1-65535)",
        "add element ip nftsvc service-ips { 10.96.0.1 . tcp . 80 : goto tcp-lb-2 }",
        "[2001:db8::1]:6443 and ::1",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert without_credentials(text) == text


def test_settings_lose_credentials_by_name_and_keep_the_rest() -> None:
    given = {
        "mode": "nftables",
        "syncPeriod": 30.0,
        "families": ("IPv4", "IPv6"),
        "hardFail": False,
        "nothing": None,
        "clientConnection": {
            "kubeconfig": "/etc/kubernetes/proxy.conf",
            "token": "hunter22",
            "tokenFile": "/var/run/token",
            "client-key-data": "aHVudGVyMjI=",
            "password": "",
            "server": "https://me:hunter22@10.0.0.1",
        },
    }
    said = shown(given)
    assert "hunter22" not in str(said)
    assert "aHVudGVyMjI" not in str(said)
    assert said == {
        "mode": "nftables",
        "syncPeriod": 30.0,
        "families": ["IPv4", "IPv6"],
        "hardFail": False,
        "nothing": None,
        "clientConnection": {
            "kubeconfig": "/etc/kubernetes/proxy.conf",
            "token": HIDDEN,
            "tokenFile": "/var/run/token",
            "client-key-data": HIDDEN,
            "password": "",
            "server": f"https://me:{HIDDEN}@10.0.0.1",
        },
    }
