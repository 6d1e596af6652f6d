"""Stands in for the get-pip script that ansible-test would download: Python has a pip of its own."""

import ensurepip

ensurepip.bootstrap()
