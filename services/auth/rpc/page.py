"""The page for verifiers, on a private port: the key set as Envoy fetches it, and what the rooms ask for.

`/verification?epoch=E&after=N&keys=D` answers what a room does not know: revocations after number N of epoch E, and the
key set when its digest is not D. Nothing on it is secret.
"""

from __future__ import annotations

import hashlib
import json
from urllib.parse import parse_qs

from services.auth.app.ended import EndedList
from services.auth.app.issuing import Issuer
from services.auth.model.keyring import KeyRecord
from services.chassis.auth_feed import KEYS_PATH, PATH
from services.chassis.page import Answer, Page

_JSON = "application/json"


def jwk_of(key: KeyRecord) -> dict[str, str]:
    """Return a key as it stands in the published set."""
    return {**key.public, "kid": key.kid, "alg": key.algorithm, "use": "sig"}


class VerificationPage:
    """Makes the answers."""

    def __init__(self, issuer: Issuer, ended: EndedList) -> None:
        self._issuer = issuer
        self._ended = ended
        self.page = Page({KEYS_PATH: self._keys, PATH: self._verification, "/livez": lambda _: Answer(body=b"ok\n")})

    def _set(self) -> dict[str, object]:
        return {"keys": [jwk_of(key) for key in self._issuer.published()]}

    def _keys(self, _: str) -> Answer:
        keys = self._set()
        if not keys["keys"]:
            return _not_yet()
        return Answer(body=json.dumps(keys).encode(), kind=_JSON)

    def _verification(self, query: str) -> Answer:
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        keys = self._set()
        if not self._ended.complete or not keys["keys"]:
            return _not_yet()
        same = asked.get("epoch") == self._ended.epoch and asked.get("after", "").isdecimal()
        last, ended = self._ended.after(int(asked["after"]) if same else 0)
        digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:32]
        said: dict[str, object] = {
            "epoch": self._ended.epoch,
            "last": last,
            "whole": not same,
            "ended": ended,
            "keys_digest": digest,
        }
        if asked.get("keys") != digest:
            said["keys"] = keys
        return Answer(body=json.dumps(said).encode(), kind=_JSON)


def _not_yet() -> Answer:
    return Answer(status="503 Service Unavailable", body=b"the record was not read yet\n")
