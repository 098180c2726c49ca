-- Reads the jobs of an index, as of one moment.
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
local jobs = {}
for _, member in ipairs(redis.call(newest_first and 'ZREVRANGE' or 'ZRANGE', index, first, last)) do
  local id = string.match(member, '^%d+:(.*)$') or member
  jobs[#jobs + 1] = redis.call('HGETALL', 'tf:{' .. id .. '}:job')
end
return {'ok', jobs}
