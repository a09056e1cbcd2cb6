"""The browser that pages are drawn in, where this machine has one."""

import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), None)
DRIVER = shutil.which("chromedriver")
WHAT_TO_INSTALL = (
    "no Chromium with its driver: apt-get install chromium chromium-driver (Debian), "
    "or put chromium and chromedriver on the path"
)
