/**
 * The hard cases of translation between protocols, by the numbers that the table of conformance gives them: what has to hold, in a sentence,
 * and where that is shown. `hard-cases.test.ts` holds the list to the table and to the tests that it names.
 */

/** A test, by its file from the root of the repository and its title as it stands there. */
export interface NamedTest {
  readonly file: string;
  readonly title: string;
}

export interface HardCase {
  readonly what: string;
  /** Rows of this number are in the table. */
  readonly inTable?: true;
  /** Tests that show it, or the part of it that the table cannot show. */
  readonly tests?: readonly NamedTest[];
  /** Why nothing shows it yet. */
  readonly leftOut?: string;
}

function tabled(what: string, ...tests: readonly NamedTest[]): HardCase {
  return { what, inTable: true, ...(tests.length === 0 ? {} : { tests }) };
}

function tested(what: string, ...tests: readonly NamedTest[]): HardCase {
  return { what, tests };
}

function leftOut(what: string, why: string): HardCase {
  return { what, leftOut: why };
}

function testsOf(folder: string): (file: string, title: string) => NamedTest {
  return (file, title) => ({ file: `${folder}/${file}`, title });
}

const plane = testsOf('data-plane/src');
const dialect = testsOf('data-plane/src/dialect');
const chat = testsOf('data-plane/src/dialect/openai-chat');
const responses = testsOf('data-plane/src/dialect/openai-responses');
const messages = testsOf('data-plane/src/dialect/anthropic-messages');
const gemini = testsOf('data-plane/src/dialect/gemini');
const routing = testsOf('data-plane/src/routing');
const websocket = testsOf('data-plane/src/server/websocket');
const scenario = testsOf('test/scenario');
const conformance = testsOf('test/conformance');

const NO_SUCH_ENDPOINT = 'The gateway has no such endpoint yet: it answers 404 with the ones that there are.';

export const HARD_CASES: Readonly<Record<number, HardCase>> = {
  // Tool calls, streaming and identity
  1: tabled('Calls are counted among calls, whatever blocks of another kind stand before them.'),
  2: tabled('Thinking between two calls leaves no hole in their numbers.'),
  3: tabled('Calls that come in several chunks are numbered over the whole stream.'),
  4: tabled('Arguments of two calls that come in turns become blocks one behind the other where the protocol has only such.'),
  5: tabled('A call that comes whole in one delta is begun, filled and ended.'),
  6: tabled('A call without arguments has an empty object of them, never an empty text.'),
  7: tabled('An empty first delta of arguments ends no call and is no chunk of its own.'),
  8: tabled('An answer with calls ends for its calls, though the provider says that it just stopped.'),
  9: tabled('Texts between calls keep their place where the protocol has places.'),
  10: tabled('An id with characters that others refuse is written in another way, the same at call and result.'),
  11: tabled('An id that is too long for one protocol is shortened there and nowhere else.'),
  12: tabled('A client sees ids in the form of its own protocol, and they find their way back.'),
  13: tabled('Calls without ids get lasting ones, and results find their calls by them and not by the name of a function.'),
  14: tabled('A tool with a name that an upstream refuses is called by the name that its client gave it.'),
  15: tabled('Whichever tool is to be chosen is said in each protocol’s own words.'),
  16: tabled('One call at a time is asked for, or its loss is named.'),
  17: tabled('A tool of free text is a function with one text where there are no such tools, and gives raw text back.'),
  18: tabled('A tool that only another provider runs is refused by its name.'),
  19: tabled('Tools are strict where the schema is one that the upstream holds to, else that is named.'),
  20: tabled('A call that the model has spoilt is an error that may be tried again, and no empty success.'),
  21: tabled('A tool without parameters is written as each protocol wants it.'),

  // Tool results and history
  22: tabled('All results of a turn stand together, before what the user says to them.'),
  23: tabled('Results in another order are matched by their ids.'),
  24: tabled('A picture in a result is shown in it, or right behind all results.'),
  25: tabled('A result that tells of an error is still one for the upstream.'),
  26: tabled('An empty result is a result.'),
  27: tabled('A call without its result, or a result without its call, is refused before anything is sent.'),
  28: tested(
    'A call and the thinking before it go together: none comes without the other, and the order stays.',
    responses(
      'pass-through-request.test.ts',
      'takes the ids of calls away that have lost their reasoning, wherever they stand, and of no others',
    ),
    responses('request.test.ts', 'sends no reasoning that its issuer did not give, and none that nothing of its turn follows'),
    responses('request.test.ts', 'keeps the order of what the model said, and gives results behind their calls'),
  ),
  29: tabled('Thinking of which there is only the encrypted state makes no empty message elsewhere.'),
  30: tested(
    'Where nothing is stored, thinking goes back by its encrypted state; an id alone is left out.',
    responses(
      'pass-through-request.test.ts',
      'loses the reasoning that no upstream could read: an id alone where nothing is stored, and the state of another provider',
    ),
    responses('request.test.ts', 'stores nothing, and has its instructions apart'),
  ),
  31: tabled('A turn of calls alone has no empty text beside them.'),
  32: tabled('Empty texts are left out, kept or refused as the upstream would have it.'),
  33: tabled('Content as a list of parts is content, whoever speaks.'),
  34: tabled('Messages of one side after each other are merged where sides must alternate.'),
  35: tabled('A history that begins or ends with the model is sent as the upstream takes it, or that is named.'),
  36: tabled('Several instructions keep their order, and their place where the model takes them there.'),
  37: tabled('Marks of a prompt cache stay where there are such, four at most.'),
  38: tabled('Names, refusals and phases of earlier messages do no harm.'),

  // Reasoning
  39: tabled('A signature of thinking reaches clients of every protocol and comes back byte for byte.'),
  40: tabled('A signature without a text is kept.'),
  41: tabled('A signature in a stream comes where the SDK looks for it.'),
  42: tabled('Thinking that is hidden goes there and back.'),
  43: tabled('Thinking that nobody has signed is never sent as signed.'),
  44: tested(
    'Where the turn to be continued has lost its thinking, the model is not asked to think.',
    messages('pass-through-request.test.ts', 'turn a thinking budget off where the turn to be continued has lost its thinking'),
    messages('request.test.ts', 'do not ask for thinking beside a forced call, in a turn that lost its thinking, or without room'),
  ),
  45: tabled('A signature of a call survives clients that know nothing of it.'),
  46: tested(
    'Of parallel calls the first one is signed, all stay in one content, and there is a stand-in for a signature that is gone.',
    gemini('request.test.ts', 'gives signatures back, and a stand-in to models that refuse a turn without one'),
    gemini('request.test.ts', 'puts all instructions of the system in front, and the turns of one side together'),
  ),
  47: tabled('An empty text that only carries a signature is no text for the client.'),
  48: tabled('Encrypted thinking is given to those who asked for it, and comes back.'),
  49: tested(
    'What proves thinking in one protocol is sent to no upstream of another.',
    messages('request.test.ts', 'shows thinking to its issuer with its proof, and no other'),
    messages('pass-through-request.test.ts', 'leave out the thinking of another provider, which this one would refuse'),
    responses('request.test.ts', 'sends no reasoning that its issuer did not give, and none that nothing of its turn follows'),
    gemini('request.test.ts', 'carries no state of other dialects to Gemini'),
    chat('pass-through-request.test.ts', 'goes on without what proves nothing here, and with the ids that its calls had'),
  ),
  50: tabled('An effort is an effort, a level or a budget, as the model takes it.'),
  51: tabled('A budget is an effort where there are no budgets.'),
  52: tabled('Thinking beside a forced call gives way, visibly.'),
  53: tabled('Settings that a thinking model refuses are left out and named.'),
  54: tabled('Thinking is one channel, whichever way a provider writes it.'),

  // Parameters
  55: tabled('The limit of the output has one meaning under four names.'),
  56: tabled('Stop sequences are sent where there are such, and the one that came is told.'),
  57: tabled('Several choices are given, or refused; never one in silence.'),
  58: tabled('Log probabilities are given, or their loss is named.'),
  59: tabled('A service tier is asked for in the upstream’s words.'),
  60: tabled('JSON is asked for in the upstream’s way.'),
  61: tabled('An answer by a schema is text that stops, also where it took a tool to get it.'),
  62: tabled('A schema is written in the form that the upstream reads.'),
  63: tabled('A format beside tools is refused where the model takes one of them only.'),
  64: tabled('Every other setting is carried, named as lost, or refused.'),
  65: tabled('A picture is sent in the way that the upstream takes it, by the type that its bytes have.'),
  66: tabled('A document is sent inline; one that another provider keeps is refused.'),
  67: tabled('Sound and film are sent where they are heard, and refused elsewhere.'),

  // Finish, usage, citations
  68: tabled('Each reason for an end has its word in each protocol, and an unknown one is no plain stop.'),
  69: tabled('A filter that ends an answer is a reason, and the end is told all the same.'),
  70: tabled('A prompt that was refused is an answer with one choice and its usage.'),
  71: tabled('An answer that was spent on thoughts is empty, cut, and counted.'),
  72: tabled('An incomplete response says why in each protocol.'),
  73: tested(
    'Tokens read from a cache stand beside the input in one protocol and inside it in the others, and are counted once.',
    messages('usage.test.ts', 'has what was read from a cache and written to one beside the input'),
    messages('response.test.ts', 'counts what was cached and written apart from the input, and thinking inside the output'),
    chat('usage.test.ts', 'takes cached, written and spoken tokens out of the prompt'),
    chat('usage.test.ts', 'is written so that it reads back the same'),
  ),
  74: tabled('Thoughts are output, and what tools gave to read is input.'),
  75: tested(
    'Tokens of thinking are told apart within the output.',
    messages('usage.test.ts', 'has what was read from a cache and written to one beside the input'),
    chat('usage.test.ts', 'is written so that it reads back the same'),
  ),
  76: tested(
    'What is written to a cache is charged apart, each kind at its price.',
    messages('usage.test.ts', 'takes a write without its kinds, or what they leave of it, for the shorter kind'),
    chat('usage.test.ts', 'takes cached, written and spoken tokens out of the prompt'),
    responses('usage.test.ts', 'takes cached, written and media tokens out of the input, and leaves reasoning in the output'),
    scenario(
      'billing-dialects.test.ts',
      'is charged at its own price, and refused before it reaches a provider where only five minutes have one',
    ),
  ),
  77: tabled('Counts that are told several times are totals, and what a later one leaves out stands.'),
  78: tabled('Usage is one last chunk for those who asked, and nothing for others.'),
  79: tabled('Usage that comes with another chunk is told as the last one.'),
  80: tested(
    'A provider that refuses to be asked for usage is not asked, by a client of any protocol.',
    chat('pass-through-request.test.ts', 'is not asked for usage where it refuses that, wherever the client asked'),
    chat('translation.test.ts', 'ask for usage in streams, but where that is refused'),
  ),
  81: tabled('Sources are told in each protocol’s form, at their place in the text.'),
  82: tested(
    'The answer has the name that was asked for, the head the one that answered, and each chunk the same.',
    plane(
      'model-mapping.test.ts',
      'is what the answer says, and the model that answered what x-actual-model, the charge and the receipt say',
    ),
    plane('model-mapping.test.ts', 'is what every event of a stream says'),
    chat('pass-through-stream.test.ts', 'is the asked one in every event, and nothing else changes'),
    messages('stream.test.ts', 'gives the model the name that the client is to read'),
    gemini('stream.test.ts', 'tells finish, usage and cost with the last answer, under one id and one model name'),
    routing('commit.test.ts', 'tells in the head which model the upstream has named'),
  ),

  // Framing and lifecycle of streams
  83: tested(
    'A character that comes in two pieces is one character.',
    dialect('sse.test.ts', 'gives the same events however the bytes are cut'),
    messages('pass-through-stream.test.ts', 'is the same wherever it is cut'),
    messages('stream.test.ts', 'gives the same events wherever the stream is cut'),
    gemini('stream.test.ts', 'is the same however its bytes are cut'),
  ),
  84: tabled('Lines end as they like, and data comes in one line or more.'),
  85: tabled('Comments of an upstream are never content.'),
  86: tested(
    'A stream is kept alive in the form that its own SDK passes over.',
    conformance('keep-alive.test.ts', 'is nothing to the SDK of %s, wherever it comes between the pieces of a stream'),
    responses('stream.test.ts', 'passes over keep-alives, and puts the answer together'),
    chat(
      'pass-through-stream.test.ts',
      'ends in one line end: a decoder that keeps the last id would dispatch an empty event at an empty line',
    ),
    websocket('connection.test.ts', 'is kept alive by messages while nothing comes from the provider'),
  ),
  87: tested(
    'What keeps a stream alive never stands inside an event.',
    conformance('keep-alive.test.ts', 'is nothing to the SDK of %s, wherever it comes between the pieces of a stream'),
    conformance('keep-alive.test.ts', 'has nothing but whole events around it in a stream of %s that comes byte by byte'),
  ),
  88: tabled('A stream ends once, by the mark of its protocol.'),
  89: tested(
    'A stream of Responses ends with the end of a response, also where the upstream just closes.',
    responses('stream.test.ts', 'ends in a failed response, numbered behind all that was sent'),
    responses('pass-through-stream.test.ts', 'ends for the client with a failed response, numbered behind all that it has seen'),
    responses('error.test.ts', 'is an error and the end of a response'),
  ),
  90: tabled(
    'Events of Responses come in order, numbered without a gap.',
    responses('stream.test.ts', 'come in the order of the protocol'),
    responses('stream.test.ts', 'are numbered from 0 without a gap, and one a buffer'),
  ),
  91: tested(
    'Events of Messages come in order, and begin once, whatever the upstream sends.',
    messages('stream.test.ts', 'writes the events in their order, with the cost at the end'),
    messages('stream.test.ts', 'is whole whatever interleaves'),
    messages('stream.test.ts', 'ignores what it does not know, and a second beginning'),
    messages('pass-through-stream.test.ts', 'drops the upstream’s keep-alives and a second beginning, and keeps what it does not know'),
  ),
  92: tested(
    'An error before the first content is a status of its own and no stream.',
    routing('commit.test.ts', 'holds everything back until the first content, then sends head and preamble together'),
    routing('attempt.test.ts', 'takes over from a stream that begins with an error, which is told where nobody is left'),
    scenario('bad-input.test.ts', 'with %s before a stream: a real status'),
  ),
  93: tabled('An error in the middle of a stream is told in the form that the SDK raises.'),
  94: tabled('A stream that just ends is an error, and no stop is made up for it.'),
  95: tabled('Unknown events and fields are passed over, or passed on.'),
  96: tested(
    'A line may be as long as a picture, and has a bound.',
    dialect('sse.test.ts', 'hands on a line of a mebibyte, however small its pieces'),
    dialect('sse.test.ts', 'refuses an event that is too large, however small its pieces'),
    plane('answer-limits.test.ts', 'with an event above 8 MiB after its first content is charged for what came before it'),
  ),
  97: tested(
    'Behind a client that has left, what runs is finished within bounds, and nothing is begun anew.',
    plane('request-path.test.ts', 'while its stream is paused for it: the stream is read to its usage and charged exactly'),
    routing('left-behind.test.ts', 'asks nobody else, and is finished or cut'),
    routing('left-behind.test.ts', 'is drained for so long and then cut'),
    routing('left-behind.test.ts', 'finishes whole answers up to a number'),
    routing('attempt.test.ts', 'is not tried for a client that has left (stream: %s)'),
  ),
  98: tested(
    'A slow client slows its provider down, and little is held for it.',
    routing('commit.test.ts', 'stops reading the upstream while the client is slow'),
    plane('upstream/dispatch.test.ts', 'stops reading: the provider can write no more than the buffers of the kernel take'),
    websocket('connection.test.ts', 'slows the provider down, and gets all of it'),
  ),
  99: tested(
    'Another provider is tried before the first content, and not after it.',
    routing('attempt.test.ts', 'takes over unseen before the first content'),
    routing('attempt.test.ts', 'is not tried for what the client did wrong, nor after the commit'),
  ),

  // Errors, ids, headers
  100: tabled('An error has the shape of the client’s protocol, wherever it comes from.'),
  101: tabled('A status of one protocol is the nearest one of another.'),
  102: tabled('A key of ours that a provider refuses is not the client’s fault.'),
  103: tabled('When to come back is told where it was told, and never made up.'),
  104: tabled('A prompt that is too long has one code, whatever words the provider has for it.'),
  105: tabled('An unknown model is a 404 in each protocol’s shape.'),
  106: tested(
    'Each answer has an id of ours where the SDK looks for it, and the provider’s own is kept for the log.',
    plane('server/reply.test.ts', 'has its id by the name under which the SDKs of its dialect look for it, too'),
    messages('error.test.ts', 'carry the request id, the wait, whether a retry helps, and the public details'),
    plane('provider/provider.test.ts', 'of %s in %j is %s'),
    routing('attempt.test.ts', 'gives the whole answer with its facts'),
  ),
  107: tabled('Betas and fields that only one provider knows go there and nowhere else.'),
  108: tested(
    'Paths of Gemini name any model, take the key in either place, and stream in either framing.',
    plane('gemini-paths.test.ts', 'finds the model at %s, with the key in the header or in the address'),
    plane('gemini-paths.test.ts', 'counts tokens there'),
    gemini('pass-through-stream.test.ts', 'becomes one JSON array in the other framing, whole or broken'),
    gemini('stream.test.ts', 'is one JSON array in the other framing, with an error as its last element'),
  ),

  // Embeddings, images, video, batch
  109: tested(
    'Vectors come in the encoding that was asked for, also from a provider that knows numbers only.',
    chat('embeddings.test.ts', 'comes back with the same vectors in either encoding'),
    chat('embeddings.test.ts', 'passes through in base64 where that was asked for and the provider wrote numbers'),
  ),
  110: tested(
    'What is asked of vectors is passed on or refused, and usage that nobody tells is estimated.',
    gemini('embeddings.test.ts', 'asks for a list, and refuses token ids'),
    chat('embeddings.test.ts', 'keeps what it asks of the vectors, and asks its upstream for numbers'),
    dialect('untold-usage.test.ts', 'is told of embeddings'),
  ),
  111: leftOut('The form in which pictures come is asked for only where the client did.', NO_SUCH_ENDPOINT),
  112: leftOut('Pictures to be edited come as files, lists or addresses.', NO_SUCH_ENDPOINT),
  113: leftOut('A film that is being made has one set of states for all providers, and is charged once.', NO_SUCH_ENDPOINT),
  114: leftOut('Lines of a batch are matched by their own ids, each with its own outcome.', NO_SUCH_ENDPOINT),

  // Responses over WebSocket
  115: tested(
    'Each event is one message, the same as in a stream and without an end mark.',
    websocket('turns.test.ts', 'are the events of the stream, one a message, in their order'),
    websocket('turn-reply.test.ts', 'is the data of its events, however they were cut, and no end mark'),
    websocket('client-message.test.ts', 'is a request with an envelope'),
  ),
  116: tested(
    'What a connection remembers is its own, and a failed turn takes the chain with it.',
    websocket('turns.test.ts', 'follow one another by the id of the response before'),
    websocket('turns.test.ts', 'are forgotten when a turn that follows them fails'),
    websocket('turns.test.ts', 'know nothing of another connection, though it has the same key'),
  ),
  117: tested(
    'A turn can be made ready without a provider and without a charge.',
    websocket('turns.test.ts', 'can be made ready, without a provider and without a charge'),
    conformance('responses-websocket.test.ts', 'is made ready, calls a tool, and goes on from its result'),
  ),
  118: tested(
    'Turns of one lane come one after the other, few wait, and a connection has an end.',
    websocket('lanes.test.ts', 'serves one lane in order, and others beside it'),
    websocket('lanes.test.ts', 'lets so many run and so many wait'),
    websocket('turns.test.ts', 'run beside each other, each in its own order, and echo their name'),
    websocket('connection.test.ts', 'ends after its lifetime: at once when it rests'),
  ),
  119: tested(
    'A response of before belongs to the connection that has it; over HTTP there is none.',
    websocket('turns.test.ts', 'know nothing of another connection, though it has the same key'),
    responses('pass-through-request.test.ts', 'a response of before, by the code that clients know'),
  ),
  120: tested(
    'A plain GET, and a key that is not let in, are answered over HTTP.',
    websocket('connection.test.ts', 'not by a plain GET, which is told so'),
    websocket('connection.test.ts', 'not %s: that is an answer over HTTP'),
  ),
  121: tested(
    'A turn whose connection goes is charged as behind any client that leaves.',
    websocket('turns.test.ts', 'is charged for a turn whose client has gone, once, for what the provider says it was'),
    websocket('turn-reply.test.ts', 'tells the pipeline of a client that is gone, also when it was already'),
  ),
};
