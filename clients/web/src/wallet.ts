/**
 * The reader's own wallet, as the browser offers it: found by EIP-6963, or as `window.ethereum` where a wallet speaks
 * EIP-1193 alone. Its key never leaves it; what it is asked to sign is shown by the wallet itself.
 */

import { WalletError } from "./failure";

/** What every wallet has (EIP-1193). */
export interface Provider {
  request(call: { readonly method: string; readonly params?: readonly unknown[] }): Promise<unknown>;
}

export interface FoundWallet {
  readonly id: string;
  readonly name: string;
  readonly provider: Provider;
}

/** EIP-1193: the reader said no. */
const DECLINED = 4001;
/** EIP-1474: a question of the wallet's is open already. */
const PENDING = -32002;

interface Announced {
  readonly info?: { readonly uuid?: unknown; readonly name?: unknown };
  readonly provider?: Provider;
}

const announced = new Map<string, FoundWallet>();

window.addEventListener("eip6963:announceProvider", (event) => {
  const { info, provider } = (event as CustomEvent<Announced>).detail ?? {};
  if (typeof info?.uuid !== "string" || typeof info.name !== "string" || typeof provider?.request !== "function") return;
  announced.set(info.uuid, { id: info.uuid, name: info.name.slice(0, 60), provider });
});

/** The wallets of this browser; a wallet answers while it is asked, so the list is complete at once. */
export function wallets(): FoundWallet[] {
  window.dispatchEvent(new Event("eip6963:requestProvider"));
  if (announced.size > 0) return [...announced.values()];
  const only = (window as { ethereum?: Provider }).ethereum;
  return typeof only?.request === "function" ? [{ id: "ethereum", name: "Wallet of this browser", provider: only }] : [];
}

async function ask(provider: Provider, method: string, params: readonly unknown[] = []): Promise<unknown> {
  try {
    return await provider.request({ method, params });
  } catch (error) {
    const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
    if (code === DECLINED) throw new WalletError("The wallet was asked and declined. Nothing was signed.");
    if (code === PENDING) throw new WalletError("The wallet has a question open already: answer it there first.");
    throw new WalletError(`The wallet refused ${method}: ${typeof message === "string" ? message : "no reason given"}`);
  }
}

function signature(value: unknown): string {
  if (typeof value === "string" && /^0x([0-9a-fA-F]{2})+$/.test(value)) return value;
  throw new WalletError("The wallet answered with something that is no signature.");
}

/** A wallet that has shown this page one of its addresses. */
export class Wallet {
  private constructor(
    private readonly provider: Provider,
    readonly address: string,
    readonly chainId: bigint,
  ) {}

  static async connect(found: FoundWallet): Promise<Wallet> {
    const accounts = await ask(found.provider, "eth_requestAccounts");
    const address: unknown = Array.isArray(accounts) ? accounts[0] : undefined;
    if (typeof address !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(address)) {
      throw new WalletError("The wallet showed no address. Unlock it, and choose an account for this page.");
    }
    const chain = await ask(found.provider, "eth_chainId");
    if (typeof chain !== "string" || !/^0x[0-9a-fA-F]{1,13}$/.test(chain)) {
      throw new WalletError("The wallet did not say which chain it is on.");
    }
    return new Wallet(found.provider, address, BigInt(chain));
  }

  is(address: string): boolean {
    return address.toLowerCase() === this.address.toLowerCase();
  }

  /** Signs a text as `personal_sign` does (EIP-191). */
  async signText(text: string): Promise<string> {
    const bytes = [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0"));
    return signature(await ask(this.provider, "personal_sign", [`0x${bytes.join("")}`, this.address]));
  }

  /** Signs typed data (EIP-712), given as its JSON. A wallet signs for the chain it is on, so it is asked to switch. */
  async signTyped(json: string): Promise<string> {
    const { domain } = JSON.parse(json) as { domain?: { chainId?: number | string } };
    if (domain?.chainId !== undefined) {
      const wanted = `0x${BigInt(domain.chainId).toString(16)}`;
      const now = await ask(this.provider, "eth_chainId");
      if (typeof now === "string" && BigInt(now) !== BigInt(wanted)) {
        await ask(this.provider, "wallet_switchEthereumChain", [{ chainId: wanted }]);
      }
    }
    return signature(await ask(this.provider, "eth_signTypedData_v4", [this.address, json]));
  }
}
