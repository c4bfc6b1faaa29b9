// The official providers for Node and for browsers, asked over standard input: client.cjs MODULES flagd|ofrep|web PORT.
'use strict';
const [modules, way, port] = process.argv.slice(2);
const load = require('node:module').createRequire(`${modules}/`);
const readline = require('node:readline');
const PATIENCE_MS = 30_000;
const url = `http://127.0.0.1:${port}`;
const sdk = load(way === 'web' ? '@openfeature/web-sdk' : '@openfeature/server-sdk');

function provider() {
  if (way === 'web') {
    // There is no page here: nothing to keep flags in, and no one who looks at it.
    const { OFREPWebProvider } = load('@openfeature/ofrep-web-provider');
    return new OFREPWebProvider({ baseUrl: url, pollInterval: 50, cacheMode: 'disabled' });
  }
  if (way === 'ofrep') {
    const { OFREPProvider } = load('@openfeature/ofrep-provider');
    return new OFREPProvider({ baseUrl: url });
  }
  const { FlagdProvider } = load('@openfeature/flagd-provider');
  return new FlagdProvider({
    host: '127.0.0.1', port: Number(port), resolverType: 'in-process',
    retryBackoffMs: 100, retryBackoffMaxMs: 200, streamDeadlineMs: 0,
  });
}

async function details(client, flag, user) {
  const context = { targetingKey: `user-${user}` };
  if (way !== 'web') return client.getStringDetails(flag, '', context);
  const known = sdk.OpenFeature.getContext().targetingKey;
  if (known !== context.targetingKey) await sdk.OpenFeature.setContext(context);
  return client.getStringDetails(flag, '');
}

async function answer(client, question) {
  if (question.do === 'treated') {
    const treated = [];
    for (let user = 0; user < question.users; user++) {
      if ((await details(client, question.flag, user)).variant === 'treatment') treated.push(user);
    }
    return treated;
  }
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = (await details(client, question.flag, 0)).flagMetadata.version;
    if (seen === question.version) return performance.timeOrigin + performance.now();
    if (Date.now() > until) throw new Error(`still sees ${seen}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const say = (said) => process.stdout.write(`${JSON.stringify(said)}\n`);

(async () => {
  if (way === 'web') await sdk.OpenFeature.setContext({ targetingKey: 'user-0' });
  await sdk.OpenFeature.setProviderAndWait(provider());
  const client = sdk.OpenFeature.getClient();
  say({ answer: 'ready' });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      say({ answer: await answer(client, JSON.parse(line)) });
    } catch (error) {
      say({ error: String(error) });
    }
  }
  process.exit(0);
})().catch((error) => {
  say({ error: String(error) });
  process.exit(1);
});
