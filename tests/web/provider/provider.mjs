// An OpenID provider that nobody here wrote (oidc-provider, certified), for one client, whose people say who they are.
// node provider.mjs PORT REDIRECT_URI
import { Provider } from 'oidc-provider'

const [port, redirectUri] = process.argv.slice(2)
const people = {
  anna: { preferred_username: 'anna', roles: ['radiology-readers', 'radiology-admins'] },
  otto: { preferred_username: 'Otto', roles: 'radiology-operators' },
  paul: { preferred_username: 'paul', roles: ['catering'] },
}
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: 'page', client_secret: 's3cret of the page!', redirect_uris: [redirectUri] }],
  claims: { openid: ['sub'], profile: ['preferred_username', 'roles'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  pkce: { required: () => true },
})
provider.listen(Number(port), '127.0.0.1')
