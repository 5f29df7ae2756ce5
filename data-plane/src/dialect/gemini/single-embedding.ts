/** The answer to one input (`embedContent`), which upstreams are asked for as a list of one. */

import { unreadable } from '../answer-body.ts';
import type { Answer } from '../dialect.ts';
import { isObject, withLiteral } from '../json.ts';
import { fieldsOf, listOf } from './proto-json.ts';
import { readAnswer } from './response.ts';

/** Throws GatewayError `upstream_error`. */
export function readSingleEmbedding(body: Buffer): Answer {
  const { facts } = readAnswer('embeddings', body);
  const { embeddings, usageMetadata, ...others } = fieldsOf(JSON.parse(body.toString('utf8')));
  const [embedding] = listOf(embeddings);
  if (embedding === undefined) throw unreadable('no vector');
  return {
    facts,
    rewrite: ({ costUsdLiteral }) => {
      const fields = JSON.stringify({ embedding, ...others });
      const counts = isObject(usageMetadata) ? `,"usageMetadata":${withLiteral(usageMetadata, 'costUsd', costUsdLiteral)}` : '';
      return { body: [Buffer.from(`${fields.slice(0, -1)}${counts}}`)], losses: [] };
    },
  };
}
