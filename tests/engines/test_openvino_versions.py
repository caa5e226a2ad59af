"""OpenVINO's versions: those that crash on our graphs are refused before they are loaded."""

from __future__ import annotations

from importlib import metadata

import pytest

from segexport import engines
from segexport.errors import EngineUnavailable


@pytest.mark.parametrize("version", ["2024.4.0", "2025.4.1", "2026.2.1"])
def test_an_older_one_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "openvino" else real(name))
    with pytest.raises(EngineUnavailable, match=f"OpenVINO {version} crashes .*: pip install --upgrade openvino"):
        engines.choose("openvino")
    assert engines.choose("auto").name != "openvino"
    assert engines.info("openvino").version == version
