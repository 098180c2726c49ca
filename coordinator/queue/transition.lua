-- Moves a job from one phase to another, if it is in that phase and of that attempt.
-- KEYS: job, events
-- ARGV: call, id, attempt, from, to, leader's generation (0: none), event level, event message, event data,
--       then pairs of field and value
-- Answers the phase, the attempt and the reason to stop that stand then.
-- Every job passes here several times, so that calls are few: one that reads the hash, one that writes it.
local job, events = unpack(KEYS)
local queued, running, leader = 'tf:queued', 'tf:running', 'tf:leader'  -- Ever the same: not sent each time.
local call, id, attempt, from, to, generation, level, message, data = unpack(ARGV)

local phase, current, stop, calls, started, workers, device, sequence, priority, told =
  unpack(redis.call('HMGET', job, 'phase', 'attempt', 'stop', 'calls', 'started_at_ms', 'workers', 'device_ms',
                    'sequence', 'priority', 'events'))
if not phase then
  return not_found(id)
end
if has_call(calls, call) then
  return {'ok', phase, current, stop}
end
local refusal = fenced(leader, generation)
if refusal then
  return refusal
end
if phase ~= from or current ~= attempt then
  return refuse('conflict', 'the job is ' .. phase .. ' in attempt ' .. current .. ', not ' .. from ..
                ' in attempt ' .. attempt .. ': ' .. id)
end
if to == 'queued' and (stop == 'cancel' or stop == 'sweep' or stop == 'pause') then
  return refuse('conflict', 'the job is to stop (' .. stop .. '), not to be queued again: ' .. id)
end

local now = now_ms()
local now_text = number_text(now)
local number = number_text((tonumber(told) or 0) + 1)
local changes = {'phase', to, 'calls', calls_with(calls, call), 'events', number}
local function change(name, value)
  changes[#changes + 1] = name
  changes[#changes + 1] = value
end
if from == 'running' then
  local ran = now - tonumber(started)
  change('device_ms', number_text((tonumber(device) or 0) + ran * tonumber(workers)))
  change('placement', '')
end
if is_final(to) then
  change('finished_at_ms', now_text)
elseif stop ~= 'none' then
  stop = 'none'
  change('stop', stop)
end
if to == 'queued' then
  change('queued_at_ms', now_text)
elseif to == 'running' then
  current = number_text(tonumber(current) + 1)
  change('attempt', current)
  change('started_at_ms', now_text)
end
for i = 10, #ARGV do
  changes[#changes + 1] = ARGV[i]
end
redis.call('HSET', job, unpack(changes))
if to == 'running' and current ~= '1' then
  redis.call('HDEL', job, 'progress', 'error_code', 'error_message', 'failure', 'result')
end

if from == 'queued' then
  redis.call('ZREM', queued, member_of(sequence, id))
elseif from == 'running' then
  redis.call('ZREM', running, id)
end
if to == 'queued' then
  redis.call('ZADD', queued, number_text(-tonumber(priority)), member_of(sequence, id))
  note_requeued(id)
elseif to == 'running' then
  redis.call('ZADD', running, sequence, id)
end
add_event(events, number, level, 'message', message, data, now_text)
return {'ok', to, current, stop}
