"""Bounds of one visitor, of one address and of all together; an operator sets them by environment variables.

`.github/docs/hosting.md` lists them. They are read at each use, so that no import fixes them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields

from ...errors import InputError


def _from(variable: str, default: int) -> int:
    return field(default=default, metadata={"variable": variable})


@dataclass(frozen=True)
class Limits:
    """The bounds, whole numbers from 0 on.

    long_per_address, long_in_all: long computations under way at once. requests_per_address: requests that wait or run.
    proxies: how many proxies stand before this server and add to X-Forwarded-For. pages, pages_per_address: results
    whose picture and maps are remembered. upload_megabytes: of the folder with uploads and answers.
    upload_megabytes_per_address: that one address may upload in a minute.
    """

    long_per_address: int = _from("CAMKIT_LONG_PER_ADDRESS", 4)
    long_in_all: int = _from("CAMKIT_LONG_IN_ALL", 16)
    requests_per_address: int = _from("CAMKIT_REQUESTS_PER_ADDRESS", 40)
    proxies: int = _from("CAMKIT_PROXIES", 0)
    pages: int = _from("CAMKIT_PAGES", 400)
    pages_per_address: int = _from("CAMKIT_PAGES_PER_ADDRESS", 80)
    upload_megabytes: int = _from("CAMKIT_UPLOAD_MEGABYTES", 1000)
    upload_megabytes_per_address: int = _from("CAMKIT_UPLOAD_MEGABYTES_PER_ADDRESS", 200)


def limits() -> Limits:
    """Return the bounds as the environment is now, on a Space with one proxy; InputError names a wrong variable."""
    found = {"proxies": 1} if os.environ.get("SPACE_ID") else {}
    for each in fields(Limits):
        variable = each.metadata["variable"]
        text = os.environ.get(variable)
        if text:
            if not text.isascii() or not text.isdigit():
                raise InputError(f"{variable} is '{text}': it must be a whole number from 0 on.")
            found[each.name] = int(text)
    return Limits(**found)
