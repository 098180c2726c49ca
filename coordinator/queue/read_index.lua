-- Reads which jobs an index has, as of one moment. The jobs themselves are asked for afterwards: Redis serves others in
-- between, and what passes through a script is copied several times.
-- KEYS: index   ARGV: newest first (1) or in order (0), after which job ('': from the start), limit (0: all)
local index = KEYS[1]
local newest_first, after, limit = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3])

local first = 0
if after ~= '' then
  local rank = redis.call(newest_first and 'ZREVRANK' or 'ZRANK', index, after)
  if not rank then
    return not_found(after)
  end
  first = rank + 1
end
local last = limit == 0 and -1 or first + limit - 1
return {'ok', redis.call(newest_first and 'ZREVRANGE' or 'ZRANGE', index, first, last)}
