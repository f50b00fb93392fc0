/** The reader's accounts at the venues and the keys that trade for them. */

import { createClient, type Client, type Transport } from "@connectrpc/connect";
import { Environment } from "@contract/perpmesh/type/v1/environment_pb.js";
import { Account_State, type Account } from "@contract/perpmesh/vault/v1/account_pb.js";
import { Key_State, type Key } from "@contract/perpmesh/vault/v1/key_pb.js";
import { VaultService } from "@contract/perpmesh/vault/v1/vault_service_pb.js";
import { byId, element } from "./cells";
import { grouped } from "./decimal";
import { button, Deed, Fields, Table, textColumn } from "./forms";
import { SetupView } from "./key_setup";
import { shortened } from "./sign_in";
import type { Wallet } from "./wallet";
import { dateAndTime } from "./words";

const PAGE = 200;

export const ENVIRONMENTS: Readonly<Record<number, string>> = {
  [Environment.SIMULATED]: "simulated",
  [Environment.PAPER]: "paper",
  [Environment.TESTNET]: "test network",
  [Environment.MAINNET]: "main network",
};

const STATES: Readonly<Record<number, string>> = {
  [Account_State.NEEDS_KEY]: "needs a key",
  [Account_State.ACTIVE]: "can trade",
  [Account_State.FROZEN]: "frozen",
  [Account_State.NEEDS_DEPOSIT]: "needs a deposit",
};

const KEYS: Readonly<Record<number, string>> = {
  [Key_State.PENDING]: "pending",
  [Key_State.ACTIVE]: "active",
  [Key_State.EXPIRED]: "expired",
  [Key_State.REVOKED]: "revoked",
  [Key_State.DEAD]: "dead",
};

/** An account in a list or a sentence. */
export function accountWords(account: Account): string {
  const where = `${account.venue}, ${ENVIRONMENTS[account.environment] ?? "unknown"}`;
  if (account.label === "") return where;
  // A name that the vault made says where already.
  return account.label.toLowerCase().startsWith(account.venue) ? account.label : `${account.label} (${where})`;
}

interface KeyOf {
  readonly account: Account;
  readonly key: Key;
}

export class Accounts {
  readonly #vault: Client<typeof VaultService>;
  readonly #form = byId("account-form", HTMLFormElement);
  readonly #fields = new Fields(this.#form);
  readonly #deed = new Deed(byId("account-add", HTMLButtonElement), byId("accounts-status", HTMLElement));
  readonly #setup: SetupView;
  readonly #table: Table<Account>;
  readonly #keys: Table<KeyOf>;
  #requestId: string = crypto.randomUUID();

  constructor(
    transport: Transport,
    wallet: (address: string) => Promise<Wallet>,
    private readonly changed: (accounts: readonly Account[]) => void,
  ) {
    this.#vault = createClient(VaultService, transport);
    this.#setup = new SetupView(this.#vault, wallet, () => this.#read());
    this.#table = new Table<Account>(
      byId("accounts", HTMLTableElement),
      [
        textColumn("Account", accountWords),
        textColumn("Wallet", (one) => shortened(one.walletAddress)),
        {
          title: "State",
          cell: (one, cell) => {
            cell.className = "wraps";
            element(cell, "strong").textContent = STATES[one.state] ?? `state ${one.state}`;
            element(cell, "span", "quiet").textContent = ` ${one.explanation}`;
          },
        },
        { title: "", cell: (one, cell) => this.#actions(one, cell) },
      ],
      "Accounts: where orders can be placed",
    );
    this.#keys = new Table<KeyOf>(
      byId("keys", HTMLTableElement),
      [
        textColumn("Key", ({ key }) => (key.venueName === "" ? shortened(key.publicKey) : key.venueName)),
        textColumn("For", ({ account }) => accountWords(account)),
        textColumn("State", ({ key }) => KEYS[key.state] ?? `state ${key.state}`),
        textColumn("Ends", ({ key }) => dateAndTime(key.expireTime)),
        textColumn("Last used", ({ key }) => dateAndTime(key.lastUseTime)),
        {
          title: "",
          cell: ({ account, key }, cell) => {
            const ended = key.state !== Key_State.ACTIVE && key.state !== Key_State.PENDING;
            if (!ended) button(cell, "Revoke", () => void this.#revoke(account, key));
          },
        },
      ],
      "Keys: what can trade, and nothing else",
    );
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#add();
    });
  }

  async load(): Promise<void> {
    await this.#deed.quietly(() => this.#read());
  }

  clear(): void {
    this.#table.set([], (one) => one.accountId, () => "");
    this.#keys.set([], ({ key }) => key.keyId, () => "");
    this.#setup.close();
    this.#deed.say("");
    this.changed([]);
  }

  async #read(): Promise<void> {
    const { accounts } = await this.#vault.listAccounts({ pageSize: PAGE });
    const version = (one: Account): string => `${one.updateTime?.seconds}.${one.updateTime?.nanos} ${one.state} ${one.explanation}`;
    this.#table.set(accounts, (one) => one.accountId, version);
    this.changed(accounts);
    const found = await Promise.all(
      accounts.map(async (account) => {
        const { keys } = await this.#vault.listKeys({ accountId: account.accountId, pageSize: PAGE });
        return keys.map((key) => ({ account, key }));
      }),
    );
    this.#keys.set(
      found.flat(),
      ({ key }) => key.keyId,
      ({ key }) => `${key.state} ${key.lastUseTime?.seconds ?? 0}`,
    );
  }

  async #add(): Promise<void> {
    const failed = (error: unknown): void => this.#fields.mark(error);
    await this.#deed.run(
      "Adding the account.",
      async () => {
        const { account } = await this.#vault.createAccount({
          requestId: this.#requestId,
          venue: this.#fields.text("venue"),
          environment: Number(this.#fields.text("environment")),
          label: this.#fields.text("label"),
        });
        this.#requestId = crypto.randomUUID();
        this.#fields.mark(null);
        this.#fields.set("label", "");
        await this.#read();
        return account === undefined ? "" : `Added ${accountWords(account)}.`;
      },
      failed,
    );
  }

  #actions(account: Account, cell: HTMLElement): void {
    const of = account.accountId;
    const named = (made: HTMLButtonElement, words: string): void =>
      made.setAttribute("aria-label", `${words}: ${accountWords(account)}`);
    if (account.state === Account_State.FROZEN) {
      named(button(cell, "Unfreeze", () => void this.#change("Unfreezing.", this.#vault.unfreezeTrading({ accountId: of }), "Unfrozen.")), "Unfreeze");
      return;
    }
    if (account.environment === Environment.SIMULATED) named(button(cell, "Get test funds", () => void this.#fund(account)), "Get test funds");
    if (account.state === Account_State.NEEDS_KEY) named(button(cell, "Set up a key", () => void this.#begin(account)), "Set up a key");
    if (account.state === Account_State.ACTIVE) {
      named(button(cell, "Freeze", () => void this.#change("Freezing.", this.#vault.freezeTrading({ accountId: of, reason: "frozen at the page" }), "Frozen: nothing is signed for it.")), "Freeze");
    }
    named(button(cell, "Remove", () => void this.#remove(account)), "Remove");
  }

  async #change(busy: string, call: Promise<unknown>, said: string): Promise<void> {
    await this.#deed.run(busy, async () => {
      await call;
      await this.#read();
      return said;
    });
  }

  async #fund(account: Account): Promise<void> {
    await this.#deed.run("Asking for test funds.", async () => {
      const answer = await this.#vault.requestTestFunds({ accountId: account.accountId, requestId: crypto.randomUUID() });
      await this.#read();
      return `${grouped(answer.amount)} USDC given; the balance is ${grouped(answer.balance)} USDC.`;
    });
  }

  async #begin(account: Account): Promise<void> {
    await this.#deed.run("Making a key.", async () => {
      const { keySetup } = await this.#vault.beginKeySetup({ accountId: account.accountId, requestId: crypto.randomUUID() });
      if (keySetup !== undefined) this.#setup.show(keySetup);
      return "";
    });
  }

  async #revoke(account: Account, key: Key): Promise<void> {
    await this.#deed.run("Revoking the key.", async () => {
      const { keySetup } = await this.#vault.revokeKey({ accountId: account.accountId, keyId: key.keyId });
      await this.#read();
      if (keySetup !== undefined) this.#setup.show(keySetup);
      return "Revoked: nothing more is signed with it. Sign below to have the venue forget it too.";
    });
  }

  async #remove(account: Account): Promise<void> {
    if (!window.confirm(`Remove ${accountWords(account)} here and destroy its keys? Nothing changes at the venue.`)) return;
    await this.#change("Removing the account.", this.#vault.deleteAccount({ accountId: account.accountId }), "Removed.");
  }
}
