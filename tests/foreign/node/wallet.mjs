// A wallet for the page, of viem's own making: it reads the sign-in text with viem's parser of EIP-4361, refuses what is
// not valid there, and signs with a key that is made in the browser. Bundled by esbuild and injected before the page.
import { bytesToString, hexToBytes } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { parseSiweMessage, validateSiweMessage } from "viem/siwe";

const account = privateKeyToAccount(generatePrivateKey());
window.signedByViem = [];
window.ethereum = {
  async request({ method, params }) {
    switch (method) {
      case "eth_requestAccounts":
        return [account.address];
      case "eth_chainId":
        return "0x1";
      case "personal_sign": {
        const text = bytesToString(hexToBytes(params[0]));
        const message = parseSiweMessage(text);
        if (!validateSiweMessage({ message, address: account.address, domain: location.host, scheme: message.scheme }))
          throw { code: -32000, message: `viem finds the text not valid: ${text}` };
        window.signedByViem.push({ ...message, chainId: String(message.chainId) });
        return account.signMessage({ message: { raw: params[0] } });
      }
      default:
        throw { code: 4200, message: `${method} is not supported` };
    }
  },
};
