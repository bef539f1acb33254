import { ERRORS, fault, type ErrorCode, type Fault } from "../../lib/errors.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A fault as bytes for another node. */
export function encodeFault(reason: Fault): Uint8Array {
  return encoder.encode(JSON.stringify(reason));
}

/** The fault that another node sent; what cannot be read is `unknown` and says so. */
export function decodeFault(bytes: Uint8Array): Fault {
  const value = decodeJson(bytes);
  if (value === null || !isErrorCode(value["code"]) || typeof value["message"] !== "string") {
    return fault(
      "unknown",
      "another node answered with an error that cannot be read",
      "Compare the versions of the two nodes.",
    );
  }
  const details = value["details"];
  return fault(
    value["code"],
    value["message"],
    typeof value["hint"] === "string" ? value["hint"] : "",
    isRecord(details) ? details : {},
  );
}

/** The JSON object in `bytes`, or null. */
export function decodeJson(bytes: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes));
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

export function encodeJson(value: Readonly<Record<string, unknown>>): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERRORS, value);
}
