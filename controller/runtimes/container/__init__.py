"""Attempts in containers of Docker Engine or Podman, through one implementation over the docker SDK."""
