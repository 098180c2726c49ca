-- Takes or renews the leadership.
-- KEYS: leader   ARGV: place, process, time to live in ms
local leader = KEYS[1]
local place, process, ttl = unpack(ARGV)

local now = now_ms()
local renews = redis.call('HGET', leader, 'process') == process
if not renews then
  local leading = redis.call('HGET', leader, 'place') or ''
  local left = tonumber(redis.call('HGET', leader, 'until_ms') or '0') - now
  if leading ~= place and left > 0 then
    return refuse('conflict', 'another coordinator leads, for ' .. number_text(left) .. ' ms more: ' .. leading)
  end
  redis.call('HINCRBY', leader, 'generation', 1)
  redis.call('HSET', leader, 'place', place, 'process', process)
end
redis.call('HSET', leader, 'until_ms', number_text(now + tonumber(ttl)))
return done(leader)
