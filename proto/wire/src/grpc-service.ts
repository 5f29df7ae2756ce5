/**
 * The bridge from a generated service descriptor to grpc-js: definitions, typed servers, typed clients.
 *
 * Decoded `bytes` fields are views into the received message: copy what is kept beyond the handler.
 */
import { type DescMessage, type DescMethod, type DescService, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import {
  type CallOptions,
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  type Server,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';

/** A message as `encodeFrame` makes it. The same frame may be written to any number of streams. */
export type EncodedFrame = Buffer;

/** The handlers of a service, one for each method by its local name. */
export type Implementation<Service extends DescService> = {
  readonly [Name in keyof Service['method']]: Handler<Service['method'][Name], never>;
};

/** As `Implementation`, whose handlers may answer with frames that are encoded already. */
export type EncodedImplementation<Service extends DescService> = {
  readonly [Name in keyof Service['method']]: Handler<Service['method'][Name], EncodedFrame>;
};

type Handler<Method, Frame> = Method extends {
  methodKind: infer Kind;
  input: infer I extends DescMessage;
  output: infer O extends DescMessage;
}
  ? Kind extends 'unary'
    ? handleUnaryCall<MessageShape<I>, MessageShape<O> | Frame>
    : Kind extends 'server_streaming'
      ? handleServerStreamingCall<MessageShape<I>, MessageShape<O> | Frame>
      : Kind extends 'client_streaming'
        ? handleClientStreamingCall<MessageShape<I>, MessageShape<O> | Frame>
        : handleBidiStreamingCall<MessageShape<I>, MessageShape<O> | Frame>
  : never;

/** The calls of a service, one for each method by its local name, and the channel beneath them. */
export type ServiceCalls<Service extends DescService> = {
  readonly [Name in keyof Service['method']]: Call<Service['method'][Name]>;
};

type Answered<O> = (error: ServiceError | null, response: O | undefined) => void;

type Call<Method> = Method extends { methodKind: infer Kind; input: infer I extends DescMessage; output: infer O extends DescMessage }
  ? Kind extends 'unary'
    ? (request: MessageShape<I>, metadata: Metadata, options: CallOptions, callback: Answered<MessageShape<O>>) => ClientUnaryCall
    : Kind extends 'server_streaming'
      ? (request: MessageShape<I>, metadata?: Metadata, options?: CallOptions) => ClientReadableStream<MessageShape<O>>
      : Kind extends 'client_streaming'
        ? (metadata: Metadata, options: CallOptions, callback: Answered<MessageShape<O>>) => ClientWritableStream<MessageShape<I>>
        : (metadata?: Metadata, options?: CallOptions) => ClientDuplexStream<MessageShape<I>, MessageShape<O>>
  : never;

export interface ServiceClient<Service extends DescService> {
  readonly calls: ServiceCalls<Service>;
  /** The grpc-js client: `close()`, `getChannel()`, `waitForReady()`. */
  readonly channel: Client;
}

/** Encodes a message into a Buffer over the same memory that the encoder wrote (grpc-js takes nothing but a Buffer). */
export function encodeFrame<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): EncodedFrame {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The service as grpc-js wants it described. Throws inside the call when a message cannot be encoded or decoded. */
export function toGrpcService(desc: DescService): ServiceDefinition {
  return define(desc, (method) => (message) => encodeFrame(method.output, message));
}

/** As `toGrpcService`, for servers that write one encoded frame to many streams: a Buffer passes untouched. */
export function toEncodedGrpcService(desc: DescService): ServiceDefinition {
  return define(desc, (method) => (message) => (Buffer.isBuffer(message) ? message : encodeFrame(method.output, message)));
}

/** Adds a service to a server. */
export function implement<Service extends DescService>(server: Server, desc: Service, implementation: Implementation<Service>): void {
  // The mapped type names exactly the handlers that the definition lists; grpc-js only knows the untyped form.
  server.addService(toGrpcService(desc), implementation as unknown as UntypedServiceImplementation);
}

/** Adds a service whose handlers may also write frames that are encoded already. */
export function implementEncoded<Service extends DescService>(
  server: Server,
  desc: Service,
  implementation: EncodedImplementation<Service>,
): void {
  // As in `implement`.
  server.addService(toEncodedGrpcService(desc), implementation as unknown as UntypedServiceImplementation);
}

/** A client on a channel of its own. `address` is `host:port`; `options` come from `channelOptions`. */
export function makeClient<Service extends DescService>(
  desc: Service,
  address: string,
  credentials: ChannelCredentials,
  options: ChannelOptions,
): ServiceClient<Service> {
  const channel = new Client(address, credentials, options);
  const definition = toGrpcService(desc);
  const calls: Record<string, unknown> = {};
  for (const [name, method] of Object.entries(definition)) calls[name] = bindCall(channel, method);
  // Each entry was bound by the method's own kind, which is what the mapped type says.
  return { calls: calls as unknown as ServiceCalls<Service>, channel };
}

function define(
  desc: DescService,
  responseSerializer: (method: DescMethod) => (message: MessageShape<DescMessage>) => Buffer,
): ServiceDefinition {
  const definition: Record<string, MethodDefinition<MessageShape<DescMessage>, MessageShape<DescMessage>>> = {};
  for (const method of desc.methods) {
    definition[method.localName] = {
      path: `/${desc.typeName}/${method.name}`,
      originalName: method.localName,
      requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
      responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
      requestSerialize: (message) => encodeFrame(method.input, message),
      requestDeserialize: (bytes) => fromBinary(method.input, bytes),
      responseSerialize: responseSerializer(method),
      responseDeserialize: (bytes) => fromBinary(method.output, bytes),
    };
  }
  return definition;
}

type AnyMethod = MethodDefinition<MessageShape<DescMessage>, MessageShape<DescMessage>>;
type AnyMessage = MessageShape<DescMessage>;

function bindCall(channel: Client, method: AnyMethod): unknown {
  const { path, requestSerialize: encode, responseDeserialize: decode } = method;
  if (method.requestStream && method.responseStream) {
    return (metadata = new Metadata(), options: CallOptions = {}) =>
      channel.makeBidiStreamRequest<AnyMessage, AnyMessage>(path, encode, decode, metadata, options);
  }
  if (method.responseStream) {
    return (request: AnyMessage, metadata = new Metadata(), options: CallOptions = {}) =>
      channel.makeServerStreamRequest<AnyMessage, AnyMessage>(path, encode, decode, request, metadata, options);
  }
  if (method.requestStream) {
    return (metadata: Metadata, options: CallOptions, callback: Answered<AnyMessage>) =>
      channel.makeClientStreamRequest<AnyMessage, AnyMessage>(path, encode, decode, metadata, options, (error, response) =>
        callback(error, response),
      );
  }
  return (request: AnyMessage, metadata: Metadata, options: CallOptions, callback: Answered<AnyMessage>) =>
    channel.makeUnaryRequest<AnyMessage, AnyMessage>(path, encode, decode, request, metadata, options, (error, response) =>
      callback(error, response),
    );
}
