"""The caller's own side of a mesh, as parts of one object: quotes, accounts and keys, orders, positions.

    async with Login(address, wallet) as login, Perpmesh(address, token=login) as mesh:
        order = await mesh.orders.place("BTC-PERP", "buy", "0.5")
        print(await mesh.portfolio.positions())

Each part is made when it is first asked for, so that who only watches prices loads and opens nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from perpmesh_client.errors import PerpmeshError
from perpmesh_client.transport import Token

if TYPE_CHECKING:
    from perpmesh_client.orders import Orders
    from perpmesh_client.portfolio import Portfolio
    from perpmesh_client.quotes import Quotes
    from perpmesh_client.vault import Vault


class Trading:
    """What `Perpmesh` has for those who trade. All but `quotes` needs a token."""

    def __init__(
        self,
        address: str,
        *,
        token: Token | None,
        metadata: Mapping[str, str] | None,
        root_certificates: bytes | None,
    ) -> None:
        """Keep what the parts are made of."""
        self._address = address
        self._token = token
        self._metadata = metadata
        self._root_certificates = root_certificates
        self._quotes: Quotes | None = None
        self._vault: Vault | None = None
        self._orders: Orders | None = None
        self._portfolio: Portfolio | None = None

    @property
    def quotes(self) -> Quotes:
        """What a trade would cost, by the cheapest way there is: with the own accounts where there is a token."""
        if self._quotes is None:
            from perpmesh_client.quotes import Quotes

            self._quotes = Quotes(self._address, token=self._token, root_certificates=self._root_certificates)
        return self._quotes

    @property
    def vault(self) -> Vault:
        """Accounts at the venues, and the keys that trade for them."""
        if self._vault is None:
            from perpmesh_client.vault import Vault

            self._vault = Vault(self._address, self._signed_in(), root_certificates=self._root_certificates)
        return self._vault

    @property
    def orders(self) -> Orders:
        """Orders and their fills."""
        if self._orders is None:
            from perpmesh_client.orders import Orders

            self._orders = Orders(
                self._address,
                token=self._signed_in(),
                metadata=self._metadata,
                root_certificates=self._root_certificates,
            )
        return self._orders

    @property
    def portfolio(self) -> Portfolio:
        """Positions, balances and what trading came to."""
        if self._portfolio is None:
            from perpmesh_client.portfolio import Portfolio

            self._portfolio = Portfolio(
                self._address, token=self._signed_in(), root_certificates=self._root_certificates
            )
        return self._portfolio

    async def aclose(self) -> None:
        """Close the connections of the parts."""
        for part in (self._quotes, self._vault, self._orders, self._portfolio):
            if part is not None:
                await part.aclose()

    def _signed_in(self) -> Token:
        if self._token is None:
            raise PerpmeshError(
                "Nobody is signed in: make a Login of a wallet or an API token, and give it as Perpmesh(token=...).",
                code="UNAUTHENTICATED",
                reason="TOKEN_MISSING",
                category="authentication",
            )
        return self._token
