"""The peers: what others use for the same purpose, set up as they are usually set up."""
