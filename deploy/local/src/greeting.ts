/** What `npm start` prints when everything is up: addresses, a key, and lines that work as they stand. */

export interface LocalWorldFile {
  readonly control_plane_url: string;
  readonly admin_token: string;
  readonly account_token: string;
  readonly regions: Readonly<Record<string, string>>;
  readonly api_key: string;
}

export interface GreetingFacts {
  readonly world: LocalWorldFile;
  /** A line for each provider, and whatever else is to be known. */
  readonly notes: readonly string[];
  /** Of local.json. */
  readonly file: string;
  /** Where the package `openai` is installed. */
  readonly projectFolder: string;
}

export function greeting({ world, notes, file, projectFolder }: GreetingFacts): string {
  const [baseUrl = ''] = Object.values(world.regions);
  const regions = Object.entries(world.regions).map(([region, url]) => `  ${region.padEnd(16)}${url}/v1`);
  return `
Meridian is running.

Base URLs
${regions.join('\n')}
  ${'control plane'.padEnd(16)}${world.control_plane_url}   (OpenAPI: ${world.control_plane_url}/openapi.json)

API key           ${world.api_key}
${notes.map((note) => `                  ${note}`).join('\n')}

curl
  curl -s ${baseUrl}/v1/chat/completions -H "Authorization: Bearer ${world.api_key}" -H "Content-Type: application/json" -d '{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"Hello, Meridian!"}]}'

Python            (anywhere, after: pip install openai)
  python3 -c 'from openai import OpenAI; print(OpenAI(base_url="${baseUrl}/v1", api_key="${world.api_key}").chat.completions.create(model="gpt-5.4-mini", messages=[{"role": "user", "content": "Hello, Meridian!"}]).choices[0].message.content)'

JavaScript        (in ${projectFolder}, where openai is installed; in another folder after: npm install openai)
  node --input-type=module -e 'import OpenAI from "openai"; const client = new OpenAI({ baseURL: "${baseUrl}/v1", apiKey: "${world.api_key}" }); console.log((await client.chat.completions.create({ model: "gpt-5.4-mini", messages: [{ role: "user", content: "Hello, Meridian!" }] })).choices[0].message.content)'

All of this is in ${file}, with an account token for /v1/keys and /v1/credits and an admin token for /admin/v1.
Ctrl-C stops everything.
`;
}
