"""Tables in a README: their form, and where they are put."""

from pathlib import Path

import pytest

from dorefabric.hw.errors import DorefabricError
from dorefabric.sim.tables import markdown, provenance, update


def test_markdown() -> None:
    text = markdown([("Title", ["a", "b"], [["1", "2"]]), ("Other", ["c"], [])], "Note.")
    assert text == "Title\n\n| a | b |\n|---|---:|\n| 1 | 2 |\n\nOther\n\n| c |\n|---|\n\nNote.\n"


def test_provenance() -> None:
    text = provenance("dorefabric bench x", 3, ["numpy", "no-such-package"])
    assert text.startswith("`dorefabric bench x`, seed 3, 20") and "no-such-package not installed" in text


def test_update(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- bench x -->\nold\n<!-- end of bench x -->\nb\n<!-- bench y -->\n<!-- end of bench y -->\n")
    update(path, "x", "new\n")
    update(path, "x", "newer\n")
    assert path.read_text() == (
        "a\n<!-- bench x -->\nnewer\n<!-- end of bench x -->\nb\n<!-- bench y -->\n<!-- end of bench y -->\n"
    )
    with pytest.raises(DorefabricError, match=r"does not have the marks <!-- bench z --> and <!-- end of bench z -->"):
        update(path, "z", "")
