"""Whom the auth room asks: keys by arithmetic, contract wallets by their chain."""
