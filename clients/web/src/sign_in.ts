/** The corner of the page that says who is signed in, and signs in and out. */

import { byId, element } from "./cells";
import { WalletError } from "./failure";
import { Deed } from "./forms";
import type { Session, Who } from "./session";
import { Wallet, wallets, type FoundWallet } from "./wallet";

const NO_WALLET =
  "This browser has no wallet. Install one that speaks EIP-1193, or sign in with `perpmesh login` on a command line.";

/** An address that can be read at a glance; the whole of it stands in the title. */
export function shortened(address: string): string {
  return `${address.slice(0, 6)}…${address.slice(-4)}`;
}

export class SignIn {
  readonly #who = byId("who", HTMLElement);
  readonly #in = byId("sign-in", HTMLButtonElement);
  readonly #out = byId("sign-out", HTMLButtonElement);
  readonly #status = byId("sign-in-status", HTMLElement);
  readonly #dialog = byId("wallets", HTMLDialogElement);
  readonly #list = byId("wallet-list", HTMLUListElement);
  readonly #deed = new Deed(this.#in, this.#status);
  #wallet: Wallet | null = null;

  constructor(private readonly session: Session) {
    this.#in.addEventListener("click", () => void this.#begin());
    this.#out.addEventListener("click", () => void this.#deed.run("Signing out.", () => this.#end()));
    byId("wallets-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.show(session.who, "");
  }

  show(who: Who | null, why: string): void {
    this.#who.textContent = who === null ? "" : shortened(who.address);
    this.#who.title = who?.address ?? "";
    this.#in.hidden = who !== null;
    this.#out.hidden = who === null;
    document.body.dataset["signedIn"] = String(who !== null);
    if (who === null || why !== "") this.#deed.say(why, why === "" ? "done" : "failed");
  }

  /** Returns the wallet of an address, asking for it where this page has not seen it yet. */
  async wallet(address: string): Promise<Wallet> {
    if (this.#wallet?.is(address) === true) return this.#wallet;
    const found = await this.#choose();
    const wallet = await Wallet.connect(found);
    if (!wallet.is(address)) {
      throw new WalletError(`The wallet shows ${wallet.address}; choose ${address} in it, which must sign, and try again.`);
    }
    this.#wallet = wallet;
    return wallet;
  }

  async #begin(): Promise<void> {
    await this.#deed.run("Waiting for the wallet.", async () => {
      this.#wallet = await Wallet.connect(await this.#choose());
      await this.session.signIn(this.#wallet);
      this.#out.focus();
      return "";
    });
  }

  async #end(): Promise<string> {
    const said = await this.session.signOut();
    this.#in.focus();
    return said;
  }

  /** Returns the only wallet, or the one the reader picks of several. */
  async #choose(): Promise<FoundWallet> {
    const found = wallets();
    const [first] = found;
    if (first === undefined) throw new WalletError(NO_WALLET);
    if (found.length === 1) return first;
    return await new Promise((resolve, reject) => {
      let chosen: FoundWallet | null = null;
      this.#list.replaceChildren();
      for (const one of found) {
        const pick = element(element(this.#list, "li"), "button");
        pick.type = "button";
        pick.textContent = one.name;
        pick.addEventListener("click", () => {
          chosen = one;
          this.#dialog.close();
        });
      }
      const closed = (): void => {
        if (chosen === null) reject(new WalletError("No wallet was chosen."));
        else resolve(chosen);
      };
      this.#dialog.addEventListener("close", closed, { once: true });
      this.#dialog.showModal();
    });
  }
}
