"""`python -m failoverctl` is `failoverctl`."""

from failoverctl.main import main

main()
