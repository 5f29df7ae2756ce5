import { Metadata } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import { expect, it } from 'vitest';
import { joinTokenIdentity } from './node-identity.ts';
import { refusalOf, streamRefusal } from './refusal.ts';

it('names the field of a frame that cannot be read, and hides what is not the node’s', () => {
  const unreadable = new WireFormatError('need', 'is negative');
  expect(refusalOf(unreadable)).toMatchObject({ code: 'invalid_request_error', message: unreadable.message, cause: unreadable });
  const known = new GatewayError('invalid_state');
  expect(refusalOf(known)).toBe(known);
  expect(refusalOf(new Error('a password')).code).toBe('internal_error');
});

it('keeps out who is no node before it says whether there is room', () => {
  const requireNode = joinTokenIdentity('join-token');
  const node = new Metadata();
  node.set('authorization', 'Bearer join-token');
  expect(streamRefusal(requireNode, node, false)).toBeUndefined();
  expect(streamRefusal(requireNode, node, true)).toMatchObject({ code: 'overloaded', retryAfterSeconds: 1 });
  expect(streamRefusal(requireNode, new Metadata(), true)?.code).toBe('invalid_token');
});
