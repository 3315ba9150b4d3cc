"""README and the pages beside it tell the truth: what can be generated from the code is in step with it."""

from pathlib import Path

from onefold.ml import feature_page
from onefold.service import settings

ROOT = Path(__file__).parents[2]


def test_the_settings_table_in_the_readme_is_that_of_the_code() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    shown = text.split("<!-- settings -->\n")[1].split("<!-- /settings -->")[0]
    assert shown == settings.settings_table()


def test_the_page_of_features_is_that_of_the_catalogue() -> None:
    told = "write it anew: onefold features list --markdown > docs/features.md"
    assert (ROOT / "docs" / "features.md").read_text("utf-8") == feature_page.page(), told


def test_every_folder_and_file_that_contributing_names_exists() -> None:
    table = [line for line in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    named = {
        word.strip("`").rstrip("/*")
        for line in table
        for word in line.replace(",", " ").split()
        if word.startswith("`") and "/" in word
    }
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
