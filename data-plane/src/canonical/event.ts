/**
 * A streamed answer, as events. Events of one choice and one tool call come in order; choices and calls may interleave.
 * A `reasoning_carrier` ends the block of reasoning that the `reasoning` events before it have begun; without any before it, it is a
 * block of its own. Any other kind of content ends a block, too.
 */
import type { DialectName } from '@meridian/domain/dialect';
import type { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { Finish } from './finish.ts';
import type { AudioPart, Citation, ForeignPart, ImagePart, ReasoningCarrier, Rest } from './message.ts';
import type { UsageReport } from './response.ts';

export type StreamEvent =
  /** First, once. */
  | {
      readonly type: 'start';
      /** The dialect it was read from, which alone gets the `rest` of this and all other events back. Absent: none. */
      readonly dialect?: DialectName;
      readonly id: string;
      readonly createdSeconds: number | undefined;
      readonly model: string | undefined;
      readonly rest: Rest;
    }
  | { readonly type: 'text'; readonly choice: number; readonly text: string; readonly logprobs: unknown }
  | { readonly type: 'citation'; readonly choice: number; readonly citation: Citation }
  | { readonly type: 'reasoning'; readonly choice: number; readonly text: string }
  | { readonly type: 'reasoning_carrier'; readonly choice: number; readonly carrier: ReasoningCarrier }
  | { readonly type: 'refusal'; readonly choice: number; readonly text: string }
  /** `call` counts the tool calls of a choice from 0, for the whole stream. */
  | {
      readonly type: 'tool_call_start';
      readonly choice: number;
      readonly call: number;
      readonly id: string;
      readonly name: string;
      readonly kind: 'function' | 'custom';
      readonly carriers?: readonly ReasoningCarrier[];
      readonly rest: Rest;
    }
  | { readonly type: 'tool_call_arguments'; readonly choice: number; readonly call: number; readonly text: string }
  | { readonly type: 'media'; readonly choice: number; readonly part: ImagePart | AudioPart }
  /** What only its own dialect understands: the calls and results of tools that the provider runs. */
  | { readonly type: 'foreign'; readonly choice: number; readonly part: ForeignPart }
  | { readonly type: 'finish'; readonly choice: number; readonly finish: Finish }
  /** May come several times: the last value of a component counts. */
  | { readonly type: 'usage'; readonly report: UsageReport }
  | { readonly type: 'service_tier'; readonly serviceTier: ServiceTier }
  /** Last, where the stream breaks. */
  | { readonly type: 'error'; readonly error: GatewayError }
  /** Last, where it is whole. */
  | { readonly type: 'end' };
