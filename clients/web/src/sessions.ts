/** The reader's sessions: where they are signed in, and how to end it. */

import { createClient, type Transport } from "@connectrpc/connect";
import { AuthService } from "@contract/perpmesh/auth/v1/auth_service_pb.js";
import type { Session as Listed } from "@contract/perpmesh/auth/v1/session_pb.js";
import { byId } from "./cells";
import { button, Deed, Table, textColumn } from "./forms";
import { shortened } from "./sign_in";
import { counted, dateAndTime, programWords } from "./words";

const PAGE = 50;

export class Sessions {
  readonly #client;
  readonly #everywhere = byId("sessions-end", HTMLButtonElement);
  readonly #deed = new Deed(this.#everywhere, byId("sessions-status", HTMLElement));
  readonly #table: Table<Listed>;

  constructor(transport: Transport) {
    this.#client = createClient(AuthService, transport);
    this.#table = new Table<Listed>(
      byId("sessions", HTMLTableElement),
      [
        textColumn("Signed in from", (one) => programWords(one.device)),
        textColumn("Address", (one) => one.networkAddress),
        textColumn("Wallet", (one) => shortened(one.address)),
        textColumn("Since", (one) => dateAndTime(one.createTime)),
        textColumn("Last used", (one) => dateAndTime(one.lastUseTime)),
        textColumn("Ends", (one) => dateAndTime(one.expireTime)),
        {
          title: "",
          cell: (one, cell) => {
            if (one.current) cell.textContent = "this one";
            else button(cell, "End", () => void this.#end(one)).setAttribute("aria-label", `End ${programWords(one.device)}`);
          },
        },
      ],
      "Sessions: where you are signed in",
    );
    this.#everywhere.addEventListener("click", () => void this.#endOthers());
  }

  async load(): Promise<void> {
    await this.#deed.quietly(() => this.#read());
  }

  clear(): void {
    this.#table.set([], (one) => one.sessionId, () => "");
    this.#deed.say("");
  }

  async #read(): Promise<void> {
    const { sessions } = await this.#client.listSessions({ pageSize: PAGE });
    this.#table.set(
      sessions,
      (one) => one.sessionId,
      (one) => `${one.lastUseTime?.seconds ?? 0} ${one.expireTime?.seconds ?? 0} ${one.current}`,
    );
    this.#everywhere.hidden = sessions.length < 2;
  }

  async #end(one: Listed): Promise<void> {
    await this.#deed.run("Ending the session.", async () => {
      await this.#client.revokeSession({ sessionId: one.sessionId });
      await this.#read();
      return "Ended.";
    });
  }

  async #endOthers(): Promise<void> {
    await this.#deed.run("Ending the other sessions.", async () => {
      const { revokedCount } = await this.#client.revokeAllSessions({ keepCurrent: true });
      await this.#read();
      return `${counted(revokedCount, "session")} ended.`;
    });
  }
}
