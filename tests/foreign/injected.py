"""A wallet as a browser's extension injects it: EIP-1193 and EIP-6963, with a key of this process behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data

from tests.foreign.chromium import Page
from tests.support.wallet import Wallet

PROVIDER = """(() => {
  const provider = { request: ({ method, params }) => window.testWallet({ method, params: params ?? [] }) };
  const detail = Object.freeze({ provider, info: { uuid: "%(uuid)s", name: "Test wallet", icon: "", rdns: "test" } });
  if (%(announced)s) {
    const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
    window.addEventListener("eip6963:requestProvider", announce);
    announce();
  } else window.ethereum = provider;
})()"""


@dataclass(slots=True)
class InjectedWallet:
    """What the page is shown, and what it asked for."""

    wallet: Wallet = field(default_factory=Wallet)
    chain_id: int = 1
    declines: bool = False
    asked: list[str] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)

    async def into(self, page: Page, *, announced: bool = True) -> None:
        """Inject it into every document that the page loads from now on."""
        await page.answer("testWallet", self._request)
        script = PROVIDER % {"uuid": "7a6f4b5e-0000-4000-8000-000000000001", "announced": json.dumps(announced)}
        await page.command("Page.addScriptToEvaluateOnNewDocument", source=script)

    async def _request(self, call: dict[str, Any]) -> Any:
        method, params = call["method"], call["params"]
        self.asked.append(method)
        if self.declines:
            raise DeclinedError({"code": 4001, "message": "User rejected the request."})
        if method == "eth_requestAccounts":
            return [self.wallet.address.lower()]
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "wallet_switchEthereumChain":
            self.chain_id = int(params[0]["chainId"], 16)
            return None
        if method == "personal_sign":
            text, address = params
            assert address.lower() == self.wallet.address.lower()
            self.signed.append(bytes.fromhex(text[2:]).decode())
            signable = encode_defunct(hexstr=text)
        elif method == "eth_signTypedData_v4":
            address, payload = params
            assert address.lower() == self.wallet.address.lower()
            self.signed.append(payload)
            assert int(json.loads(payload)["domain"]["chainId"]) == self.chain_id, "as wallets insist"
            signable = encode_typed_data(full_message=json.loads(payload))
        else:
            raise DeclinedError({"code": -32601, "message": f"{method} is not known here"})
        return "0x" + bytes(Account.sign_message(signable, self.wallet.secret).signature).hex()


class DeclinedError(Exception):
    """The wallet says no; its argument is what EIP-1193 gives a page."""
