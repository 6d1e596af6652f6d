"""Measures the figures this project promises, and its peers, on real hosts of one machine.

Run it from the checkout: ``python -m bench`` (or ``make bench``). It needs root and what
``failoverctl lab`` needs; it is no part of the product and no test with a time limit.
"""
