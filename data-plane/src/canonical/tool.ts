/** Tools that a model may call. */
import type { DialectName } from '@meridian/domain/dialect';
import type { Rest } from './message.ts';

export type Tool = FunctionTool | CustomTool | HostedTool;

export interface FunctionTool {
  readonly kind: 'function';
  readonly name: string;
  readonly description: string | undefined;
  /** JSON Schema; undefined for a tool without arguments. */
  readonly parameters: Rest | undefined;
  readonly strict: boolean | undefined;
  readonly rest: Rest;
}

/** A tool whose argument is free text, perhaps under a grammar. */
export interface CustomTool {
  readonly kind: 'custom';
  readonly name: string;
  readonly description: string | undefined;
  readonly format: unknown;
  readonly rest: Rest;
}

/** A tool that the provider runs: nobody else can stand in for it. */
export interface HostedTool {
  readonly kind: 'hosted';
  readonly dialect: DialectName;
  readonly value: Rest;
}

export type ToolChoice =
  | { readonly type: 'auto' }
  | { readonly type: 'none' }
  | { readonly type: 'required' }
  | { readonly type: 'tool'; readonly name: string; readonly kind: 'function' | 'custom' }
  | { readonly type: 'foreign'; readonly dialect: DialectName; readonly value: Rest };
