"""The inward face of the auth room: the service of the contract, and the page for verifiers."""
