"""Fixtures that more than one file of tests asks for: a real browser and its pages."""

import gc

import pytest

from tests import browser as helpers


def pytest_collection_finish():
    """Sixteen thousand tests and their tables stay: looking for garbage does not look at them."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path, config):
    """Tests of other engines compile for long: they run where they are asked for by name."""
    asked = any("test_engine_" in str(name) for name in config.args)
    return True if collection_path.name.startswith("test_engine_") and not asked else None


@pytest.fixture(scope="session")
def browser():
    """One headless Chromium for all tests."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        helpers.unavailable("Playwright is not installed: pip install playwright")
    with sync_playwright() as playwright:
        chromium = helpers.launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """`open_page(theme="dark")` gives a page; the test fails if a page did wrong."""
    opened = helpers.Opened(browser)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def arial():
    """Nothing, where texts are as wide as in Arial."""
    found = helpers.arial()
    if found not in helpers.ARIAL:
        helpers.unavailable(f"Arial is {found} here: apt install fonts-liberation fontconfig")
