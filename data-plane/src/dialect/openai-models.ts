/** What differs between the models behind OpenAI's protocols, by the names that upstreams give them. */

/** Thinking models of OpenAI's, whichever prefix a vendor puts before the name; the chat variants of a family do not think. */
const THINKING = /(^|[/.])(o\d|gpt-([5-9]|\d\d))(?!.*-chat)/;
/** Later ones of them can be told not to think, and sample as they are told to then. */
const MAY_NOT_THINK = /(^|[/.])gpt-(5\.\d|[6-9]|\d\d)/;

/** Whether temperature, penalties and the like are taken: models that think refuse them. */
export function takesSampling(model: string, effort: string | undefined): boolean {
  const name = model.toLowerCase();
  if (!THINKING.test(name)) return true;
  return effort === 'none' && MAY_NOT_THINK.test(name);
}

/** Whether an effort of `none` is known. */
export function takesNoEffort(model: string): boolean {
  return MAY_NOT_THINK.test(model.toLowerCase());
}
