"""The frame of the console: signing in, the theme, the keyboard, and the header on each page."""

import pytest
from playwright.sync_api import expect

from tests.browser.windows import NARROW
from tests.kit.servers.running import waypost_process


@pytest.fixture
def key(system):
    return system.server.profile.key


def sign_in(page, key_id, secret):
    page.get_by_label("Access key id").fill(key_id)
    page.get_by_label("Secret").fill(secret)
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_person_signs_in_with_an_access_key_and_signs_out(new_window, system, key, scripts):
    window = new_window(system.server, scripts=scripts)
    window.open("/keys")
    expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(window.page, key.id, key.secret)
    window.page.wait_for_url(lambda url: "sign-in" not in url)
    window.open("/keys")
    expect(window.page.get_by_role("main")).to_contain_text(key.id)
    window.page.get_by_role("button", name="Sign out").click()
    expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    window.page.go_back()
    expect(window.page.get_by_role("main")).not_to_contain_text(key.id)


def test_a_wrong_secret_is_refused_with_a_sentence(new_window, system, key):
    window = new_window(system.server)
    window.expect_refusal(403)
    window.open("/sign-in")
    sign_in(window.page, key.id, "wrong")
    expect(window.page.get_by_role("alert")).to_contain_text("There is no active access key with this id and secret.")
    sign_in(window.page, key.id, key.secret)
    window.page.wait_for_url(lambda url: "sign-in" not in url)


def test_a_link_signs_in_once(new_window, system):
    link = waypost_process("console", "--print", "--data", system.server.data).stdout.strip()
    window = new_window(system.server)
    window.page.goto(link)
    expect(window.page.get_by_role("navigation", name="Pages")).to_be_visible()
    other = new_window(system.server)
    other.expect_refusal(403)
    other.page.goto(link)
    expect(other.page.get_by_role("alert")).to_contain_text("This link has been used")


@pytest.mark.parametrize("scripts", [True, False])
def test_the_theme_is_switched_and_kept(new_window, system, scripts):
    window = new_window(system.server, scripts=scripts)
    window.sign_in_at_once()
    window.open("/keys")
    assert background(window) == "rgb(255, 255, 255)"
    with window.page.expect_response(lambda response: response.url.endswith("/theme")):
        window.page.get_by_role("button", name="Switch between light and dark").click()
    window.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert background(window) == "rgb(20, 23, 26)"
    window.open("/settings")
    assert background(window) == "rgb(20, 23, 26)"
    with window.page.expect_response(lambda response: response.url.endswith("/theme")):
        window.page.get_by_role("button", name="Switch between light and dark").click()
    window.page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    assert background(window) == "rgb(255, 255, 255)"


def test_the_theme_of_the_system_is_the_first_choice(new_window, system):
    window = new_window(system.server, theme="dark")
    window.open("/sign-in")
    assert background(window) == "rgb(20, 23, 26)"


def background(window) -> str:
    return window.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")


def test_the_help_opens_and_closes_with_keys(window):
    window.open("/settings")
    window.page.keyboard.press("?")
    dialog = window.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("Next and previous row")
    window.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    window.page.get_by_role("button", name="Help").click()
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Close").press("Enter")
    expect(dialog).to_be_hidden()


@pytest.mark.parametrize(("letter", "path"), [("m", "/"), ("a", "/addresses"), ("f", "/flow")])
def test_two_letters_open_a_page(window, letter, path):
    window.open("/settings")
    with window.page.expect_response(window.url(path)):
        window.page.keyboard.type(f"g{letter}")


def test_letters_in_a_field_are_text(window):
    window.open("/settings")
    window.page.keyboard.press("/")
    expect(window.page.get_by_role("searchbox")).to_be_focused()
    window.page.keyboard.type("gm?j/")
    expect(window.page.get_by_role("searchbox")).to_have_value("gm?j/")
    assert window.path == "/settings"
    window.page.keyboard.press("Escape")
    expect(window.page.get_by_role("searchbox")).not_to_be_focused()


def test_the_first_key_skips_the_header(window):
    window.open("/settings")
    window.page.keyboard.press("Tab")
    skip = window.page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    window.page.keyboard.press("Enter")
    expect(window.page.get_by_role("main")).to_be_focused()


def test_a_text_is_copied(window):
    window.context.grant_permissions(["clipboard-read", "clipboard-write"])
    window.open("/keys")
    window.page.get_by_role("button", name="Copy waypost keys create").click()
    expect(window.page.get_by_role("status")).to_contain_text("Copied")
    copied = window.page.evaluate("navigator.clipboard.readText()")
    assert copied == "waypost keys create --name NAME --policy FILE"


def test_an_unknown_page_has_a_link_to_the_console(window):
    window.expect_refusal(404)
    window.open("/nothing")
    expect(window.page.get_by_role("heading", name="Not found")).to_be_visible()
    window.page.get_by_role("link", name="Open the console").click()
    expect(window.page.get_by_role("navigation", name="Pages")).to_be_visible()


def test_the_header_needs_little_room_in_a_narrow_window(new_window, system):
    window = new_window(system.server, size=NARROW)
    window.sign_in_at_once()
    window.open("/settings")
    assert window.page.get_by_role("banner").bounding_box()["height"] <= 140
