"""The pages of the console, as the paths of its table of views, with an example of each in the story."""

PAGES = {
    "/keys": lambda story: "/keys",
    "/settings": lambda story: "/settings",
}
"""The path of a page in the story, by the path of its view."""

NO_PAGES = {"/"}
"""The views that do not answer with a page."""
