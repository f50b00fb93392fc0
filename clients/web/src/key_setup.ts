/** Has the reader's wallet sign what a venue asks for, step by step, each shown in full before the wallet is asked. */

import type { Client } from "@connectrpc/connect";
import type { KeySetup, KeySetupStep } from "@contract/perpmesh/vault/v1/key_setup_pb.js";
import { KeySetup_State, KeySetupStep_Method, KeySetupStep_State } from "@contract/perpmesh/vault/v1/key_setup_pb.js";
import type { VaultService } from "@contract/perpmesh/vault/v1/vault_service_pb.js";
import { byId, element } from "./cells";
import { WalletError } from "./failure";
import { button, Deed } from "./forms";
import type { Wallet } from "./wallet";

const LOOKS_MAX = 30;
const LOOK_MS = 1_000;

const STEPS: Readonly<Record<number, string>> = {
  [KeySetupStep_State.AWAITING_SIGNATURE]: "to be signed",
  [KeySetupStep_State.SUBMITTED]: "sent to the venue",
  [KeySetupStep_State.CONFIRMED]: "confirmed by the venue",
  [KeySetupStep_State.REFUSED]: "refused by the venue",
  [KeySetupStep_State.SKIPPED]: "left out",
};

const ENDS: Readonly<Record<number, string>> = {
  [KeySetup_State.CONFIRMED]: "The venue confirmed it.",
  [KeySetup_State.REFUSED]: "The venue refused it.",
  [KeySetup_State.EXPIRED]: "It was not completed in time: begin again.",
};

export class SetupView {
  readonly #section = byId("setup", HTMLElement);
  readonly #steps = byId("setup-steps", HTMLOListElement);
  readonly #sign = byId("setup-sign", HTMLButtonElement);
  readonly #deed = new Deed(this.#sign, byId("setup-status", HTMLElement));
  readonly #leave = button(byId("setup-buttons", HTMLElement), "Not now", () => this.close());
  #setup: KeySetup | null = null;

  constructor(
    private readonly vault: Client<typeof VaultService>,
    private readonly wallet: (address: string) => Promise<Wallet>,
    private readonly done: () => Promise<void>,
  ) {
    this.#sign.addEventListener("click", () => void this.#complete());
  }

  /** Shows a set-up that awaits signatures. */
  show(setup: KeySetup): void {
    this.#setup = setup;
    this.#deed.say("");
    this.#paint(setup);
    this.#section.hidden = false;
    byId("setup-title", HTMLElement).focus();
  }

  close(): void {
    this.#setup = null;
    this.#section.hidden = true;
  }

  #paint(setup: KeySetup): void {
    this.#steps.replaceChildren();
    for (const step of setup.steps) {
      const item = element(this.#steps, "li");
      item.dataset["state"] = KeySetupStep_State[step.state] ?? "";
      element(item, "p").textContent = step.explanation;
      const state = STEPS[step.state] ?? `state ${step.state}`;
      const optional = step.required ? "" : " · not required";
      element(item, "p", "quiet").textContent = `${state}${optional} · signed by ${step.signerAddress}`;
      if (step.refusal !== undefined) element(item, "p", "wrong").textContent = step.refusal.message;
      const details = element(item, "details");
      element(details, "summary").textContent = "What exactly is signed";
      element(details, "pre").textContent = readable(step);
      if (!step.required && step.state === KeySetupStep_State.AWAITING_SIGNATURE) {
        const label = element(item, "label");
        const box = element(label, "input");
        box.type = "checkbox";
        box.name = step.stepId;
        label.append(" Sign this one too");
      }
    }
    const open = setup.state === KeySetup_State.AWAITING_SIGNATURES || setup.state === KeySetup_State.SUBMITTED;
    this.#sign.hidden = !open;
    this.#leave.textContent = open ? "Not now" : "Close";
    this.#sign.textContent = setup.state === KeySetup_State.SUBMITTED ? "Look again" : "Sign with the wallet";
  }

  async #complete(): Promise<void> {
    const setup = this.#setup;
    if (setup === null) return;
    await this.#deed.run("Waiting for the wallet.", async () => {
      const open = setup.steps.filter((step) => step.state === KeySetupStep_State.AWAITING_SIGNATURE);
      const wanted = open.filter((step) => step.required || this.#wants(step));
      const signatures = [];
      for (const step of wanted) {
        const wallet = await this.wallet(step.signerAddress);
        signatures.push({ stepId: step.stepId, signature: await signStep(wallet, step) });
      }
      const about = { accountId: setup.accountId, keySetupId: setup.keySetupId };
      const skippedStepIds = open.filter((step) => !wanted.includes(step)).map((step) => step.stepId);
      this.#deed.say("Waiting for the venue.", "busy");
      let answer = await this.vault.completeKeySetup({ ...about, signatures, skippedStepIds });
      for (let looks = 0; answer.keySetup?.state === KeySetup_State.SUBMITTED && looks < LOOKS_MAX; looks += 1) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        answer = await this.vault.completeKeySetup(about);
      }
      const now = answer.keySetup;
      if (now === undefined || this.#setup !== setup) return "";
      this.#setup = now;
      this.#paint(now);
      await this.done();
      if (now.state === KeySetup_State.REFUSED || now.state === KeySetup_State.EXPIRED) {
        throw new WalletError(ENDS[now.state] ?? "");
      }
      return ENDS[now.state] ?? "The venue has not confirmed it yet: look again in a while.";
    });
  }

  #wants(step: KeySetupStep): boolean {
    const box = this.#steps.querySelector<HTMLInputElement>(`input[name="${CSS.escape(step.stepId)}"]`);
    return box?.checked === true;
  }
}

async function signStep(wallet: Wallet, step: KeySetupStep): Promise<string> {
  if (step.method === KeySetupStep_Method.PERSONAL_SIGN) return await wallet.signText(step.payload);
  if (step.method === KeySetupStep_Method.EIP712) return await wallet.signTyped(step.payload);
  throw new WalletError("This page does not know how to sign this step: reload it for a newer version.");
}

function readable(step: KeySetupStep): string {
  if (step.method !== KeySetupStep_Method.EIP712) return step.payload;
  try {
    return JSON.stringify(JSON.parse(step.payload), null, 2);
  } catch {
    return step.payload;
  }
}
