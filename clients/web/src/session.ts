/**
 * The reader's session: a wallet opens it, and every call after that carries its access token.
 *
 * The access token lives in memory. The refresh token is good for one use and is kept in `localStorage`, so that the
 * session outlives a reload and is one over all tabs: a lock of the browser lets one tab at a time use it. Half a minute
 * before its end an access token is renewed; one that the mesh refuses is renewed at once. Signing out revokes the
 * session at the mesh, and the other tabs hear of it.
 */

import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { AuthService } from "@contract/perpmesh/auth/v1/auth_service_pb.js";
import type { Session as Record } from "@contract/perpmesh/auth/v1/session_pb.js";
import { reasonOf, sentenceOf, WalletError } from "./failure";
import type { Wallet } from "./wallet";

const KEPT = "perpmesh.session";
const RENEW_BEFORE_MS = 30_000;
const FIRST_LINE_END = " wants you to sign in with your Ethereum account:";

/** Who is signed in; null for nobody. */
export interface Who {
  readonly address: string;
  readonly sessionId: string;
}

interface Kept extends Who {
  readonly refreshToken: string;
}

interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly session?: Record | undefined;
}

/** How long an access token counts from now, by what it says of itself: the clock of this machine may be wrong. */
export function lifetimeMs(token: string): number {
  try {
    const part = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(atob(part)) as { exp?: unknown; iat?: unknown };
    if (typeof claims.exp === "number" && typeof claims.iat === "number") return (claims.exp - claims.iat) * 1000;
  } catch {
    // A token that says nothing of itself is renewed soon.
  }
  return 2 * RENEW_BEFORE_MS;
}

function readKept(): Kept | null {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "null") as Partial<Kept> | null;
    const { address, sessionId, refreshToken } = kept ?? {};
    if (typeof address === "string" && typeof sessionId === "string" && typeof refreshToken === "string") {
      return { address, sessionId, refreshToken };
    }
  } catch {
    // What is no session of ours is none.
  }
  return null;
}

/** A text that nobody can guess, and its digest: what was asked for by this page is answered to this page alone. */
async function binding(): Promise<{ verifier: string; challenge: string }> {
  const base64url = (bytes: Uint8Array): string =>
    btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  return { verifier, challenge: base64url(new Uint8Array(digest)) };
}

/** One tab at a time, where the browser has locks; pages that are not secure have none, and no wallet either. */
async function alone<T>(work: () => Promise<T>): Promise<T> {
  if (navigator.locks === undefined) return await work();
  return (await navigator.locks.request(KEPT, work)) as T;
}

function signedOut(): ConnectError {
  return new ConnectError("Nobody is signed in. Sign in first.", Code.Unauthenticated);
}

export class Session {
  readonly #auth;
  #access = "";
  #endMs = 0;
  #renewing: Promise<string> | null = null;
  #who: Who | null = readKept();

  constructor(
    plain: Transport,
    private readonly changed: (who: Who | null, why: string) => void,
  ) {
    this.#auth = createClient(AuthService, plain);
    window.addEventListener("storage", (event) => {
      if (event.key !== KEPT && event.key !== null) return;
      const kept = readKept();
      if (kept?.sessionId !== this.#who?.sessionId) this.#forgetAccess();
      this.#set(kept, kept === null ? "Signed out in another tab." : "");
    });
  }

  get who(): Who | null {
    return this.#who;
  }

  /** Signs in with a wallet. The wallet shows the text; it is refused here if it is no sign-in of that wallet. */
  async signIn(wallet: Wallet): Promise<void> {
    const { verifier, challenge } = await binding();
    const { address, chainId } = wallet;
    const issued = await this.#auth.createChallenge({ address, chainId, bindingChallenge: challenge });
    const [first = "", second = ""] = issued.message.split("\n");
    if (first !== `${window.location.host}${FIRST_LINE_END}` && first !== `${window.location.origin}${FIRST_LINE_END}`) {
      throw new WalletError(`The mesh signs people in to another site than this one, so nothing was signed: ${first}`);
    }
    if (!wallet.is(second)) throw new WalletError("What was to be signed is no sign-in of this wallet; nothing was signed.");
    const signature = await wallet.signText(issued.message);
    const answer = { message: issued.message, signature, bindingVerifier: verifier };
    await alone(async () => this.#take(await this.#auth.createSession(answer)));
  }

  /** Revokes the session at the mesh and forgets it here, even if the mesh cannot be reached; says what came of it. */
  async signOut(): Promise<string> {
    const who = this.#who;
    if (who === null) return "";
    let said = "Signed out.";
    try {
      const headers = { authorization: `Bearer ${await this.token()}` };
      await this.#auth.revokeSession({ sessionId: who.sessionId }, { headers });
    } catch (error) {
      if (this.#who !== null) said = `Signed out here; the mesh was not told: ${sentenceOf(error)}`;
    }
    this.#forget("");
    return said;
  }

  /** Returns an access token that counts for a while; throws where nobody is signed in, or no longer. */
  async token(): Promise<string> {
    if (this.#access !== "" && performance.now() < this.#endMs - RENEW_BEFORE_MS) return this.#access;
    this.#renewing ??= alone(async () => await this.#renew()).finally(() => {
      this.#renewing = null;
    });
    return await this.#renewing;
  }

  /** Notes that the mesh refused a token. */
  refused(token: string): void {
    if (token === this.#access) this.#forgetAccess();
  }

  /** Puts the token on every call while somebody is signed in; a call whose token was refused is made once more. */
  readonly bearer: Interceptor = (next) => async (request) => {
    if (this.#who === null) return await next(request);
    for (let again = false; ; again = true) {
      const token = await this.token();
      request.header.set("authorization", `Bearer ${token}`);
      try {
        const response = await next(request);
        return response.stream ? { ...response, message: this.#watched(response.message, token) } : response;
      } catch (error) {
        if (reasonOf(error) !== "TOKEN_INVALID") throw error;
        this.refused(token);
        if (again || request.stream) throw error;
      }
    }
  };

  async *#watched<T>(messages: AsyncIterable<T>, token: string): AsyncIterable<T> {
    try {
      yield* messages;
    } catch (error) {
      if (reasonOf(error) === "TOKEN_INVALID") this.refused(token);
      throw error;
    }
  }

  async #renew(): Promise<string> {
    const kept = readKept();
    if (kept === null) {
      this.#forget("");
      throw signedOut();
    }
    try {
      return this.#take(await this.#auth.refreshSession({ refreshToken: kept.refreshToken }));
    } catch (error) {
      if (reasonOf(error) === "TOKEN_INVALID") {
        this.#forget("The session has ended. Sign in again.");
        throw signedOut();
      }
      throw error;
    }
  }

  #take(tokens: Tokens): string {
    const { accessToken, refreshToken, session } = tokens;
    if (session === undefined) throw new ConnectError("The mesh answered without a session.", Code.Internal);
    const kept: Kept = { address: session.address, sessionId: session.sessionId, refreshToken };
    localStorage.setItem(KEPT, JSON.stringify(kept));
    this.#access = accessToken;
    this.#endMs = performance.now() + lifetimeMs(accessToken);
    this.#set({ address: kept.address, sessionId: kept.sessionId }, "");
    return accessToken;
  }

  #forgetAccess(): void {
    this.#access = "";
    this.#endMs = 0;
  }

  #forget(why: string): void {
    localStorage.removeItem(KEPT);
    this.#forgetAccess();
    this.#set(null, why);
  }

  #set(who: Who | null, why: string): void {
    const before = this.#who;
    this.#who = who;
    if (before?.sessionId !== who?.sessionId || why !== "") this.changed(who, why);
  }
}
