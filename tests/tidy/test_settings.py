"""What is derived from the configuration classes is what they say, and every setting explains itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from services.chassis.config import settings_of
from tools.settings import classes

ROOT = Path(__file__).resolve().parents[2]


def test_names_example_and_reference_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.settings", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_explained_by_a_sentence() -> None:
    for cls in classes().values():
        for about in settings_of(cls):
            assert len(about.help) > 15, about.name
            assert about.help[0].isupper() or about.help[0] in "`0123456789", about.name
            assert about.help.endswith("."), about.name


def test_no_secret_has_a_default() -> None:
    for cls in classes().values():
        for about in settings_of(cls):
            if about.secret and about.default:
                address = urlsplit(str(about.default))
                assert address.hostname, f"{about.name} is a secret with a default that is no address"
                assert not address.username, f"{about.name} has credentials in its default"
                assert not address.password, f"{about.name} has credentials in its default"
