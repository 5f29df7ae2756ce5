import { expect, it } from 'vitest';
import { NO_REST, rest } from './json.ts';

it('carries each member that is not named, whatever it is called', () => {
  const value = JSON.parse('{"model":"m","__proto__":{"polluted":true},"constructor":1,"b":null}');
  expect(JSON.stringify(rest(value, ['model']))).toBe('{"__proto__":{"polluted":true},"constructor":1,"b":null}');
  expect(rest(value, ['model', '__proto__', 'constructor', 'b'])).toBe(NO_REST);
});
