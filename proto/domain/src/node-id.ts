/** What a node may be called: 1 to 64 letters, digits, dots, dashes. */
export function isNodeId(text: string): boolean {
  return /^[A-Za-z0-9_.-]{1,64}$/.test(text);
}
