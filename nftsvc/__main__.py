"""`python -m nftsvc` is the `nftsvc` command."""

from nftsvc.cli import main

main()
