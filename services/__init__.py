"""Perpmesh: the services of the mesh. See services/README.md."""
