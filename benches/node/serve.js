// A server for `deno serve`.
export default { fetch: () => new Response('hello') };
